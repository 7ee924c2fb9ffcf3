//! Signed and MACed messages: COSE_Sign1 and COSE_Mac0 in one fixed form.
//! Source: RFC 9052 §4.2, §6.2; RFC 9053 (EdDSA = -8, HMAC 256/256 = 5); G11 of the rails: untagged, protected
//! header {1: alg, 4: kid}, unprotected empty, payload inside, no external data.

use coset::{
    CborSerializable, CoseMac0, CoseMac0Builder, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, iana,
};
use minicbor::Decoder;

use crate::mac::MacKey;
use crate::sign::{Signer, Verifier};

/// Why bytes are not a signed or MACed message, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// Not COSE at all, or a part is missing or of another length.
    #[error("not a signed message")]
    Malformed,
    /// COSE, but not in the one form that is spoken here.
    #[error("a signed message in another form")]
    NotCanonical,
    /// The signature or the tag does not verify.
    #[error("the signature does not verify")]
    Signature,
}

fn header(algorithm: iana::Algorithm, kid: &[u8; 16]) -> Header {
    HeaderBuilder::new().algorithm(algorithm).key_id(kid.to_vec()).build()
}

#[allow(clippy::expect_used, reason = "headers and byte strings that were built here always encode")]
fn bytes_of(message: impl CborSerializable) -> Vec<u8> {
    message.to_vec().expect("what was built here encodes")
}

fn kid_of(header: &Header) -> Result<[u8; 16], CoseError> {
    header.key_id.as_slice().try_into().map_err(|_| CoseError::Malformed)
}

/// Signs a payload (COSE_Sign1, EdDSA) with the key of this id.
pub fn sign1(key: &dyn Signer, kid: &[u8; 16], payload: &[u8]) -> Vec<u8> {
    let message = CoseSign1Builder::new()
        .protected(header(iana::Algorithm::EdDSA, kid))
        .payload(payload.to_vec())
        .create_signature(&[], |to_sign| key.sign(to_sign).to_vec());
    bytes_of(message.build())
}

/// A COSE_Sign1 that was read but not yet verified.
///
/// Shape: CBOR array `[protected, {}, payload, signature]` with a 16-byte key id and a 64-byte signature.
/// Errors: [`CoseError`]. Source: RFC 9052 §4.2, G11.
pub struct Sign1 {
    kid: [u8; 16],
    signature: [u8; 64],
    message: CoseSign1,
}

impl Sign1 {
    /// Reads the one form that [`sign1`] writes. Errors: `Malformed`, `NotCanonical`.
    pub fn parse(bytes: &[u8]) -> Result<Sign1, CoseError> {
        let read = CoseSign1::from_slice(bytes).map_err(|_| CoseError::Malformed)?;
        let kid = kid_of(&read.protected.header)?;
        let signature = read.signature.as_slice().try_into().map_err(|_| CoseError::Malformed)?;
        // Built anew from its parts, the message must have the same bytes: nothing else can hide in it.
        let message = CoseSign1Builder::new()
            .protected(header(iana::Algorithm::EdDSA, &kid))
            .payload(read.payload.ok_or(CoseError::Malformed)?)
            .signature(read.signature)
            .build();
        if bytes_of(message.clone()) != bytes {
            return Err(CoseError::NotCanonical);
        }
        Ok(Sign1 { kid, signature, message })
    }

    /// The id of the key that is said to have signed.
    pub fn kid(&self) -> [u8; 16] {
        self.kid
    }

    /// The payload, not yet verified: to find out whose key to verify with, and for nothing else.
    pub fn payload_unverified(&self) -> &[u8] {
        self.message.payload.as_deref().unwrap_or_default()
    }

    /// The payload, if the key signed it. Errors: `Signature`.
    pub fn verify(&self, key: &dyn Verifier) -> Result<&[u8], CoseError> {
        let signed = self.message.tbs_data(&[]);
        key.verify(&signed, &self.signature).map_err(|_| CoseError::Signature)?;
        Ok(self.payload_unverified())
    }
}

/// Tags a payload (COSE_Mac0, HMAC 256/256) with the key of this id.
pub fn mac0(key: &MacKey, kid: &[u8; 16], payload: &[u8]) -> Vec<u8> {
    let message = CoseMac0Builder::new()
        .protected(header(iana::Algorithm::HMAC_256_256, kid))
        .payload(payload.to_vec())
        .create_tag(&[], |to_tag| key.tag_raw(to_tag).to_vec());
    bytes_of(message.build())
}

/// A COSE_Mac0 that was read but not yet verified.
///
/// Shape: CBOR array `[protected, {}, payload, tag]` with a 16-byte key id and a 32-byte tag.
/// Errors: [`CoseError`]. Source: RFC 9052 §6.2, G11.
pub struct Mac0 {
    kid: [u8; 16],
    message: CoseMac0,
}

impl Mac0 {
    /// Reads the one form that [`mac0`] writes. Errors: `Malformed`, `NotCanonical`.
    pub fn parse(bytes: &[u8]) -> Result<Mac0, CoseError> {
        let read = CoseMac0::from_slice(bytes).map_err(|_| CoseError::Malformed)?;
        let kid = kid_of(&read.protected.header)?;
        if read.tag.len() != 32 {
            return Err(CoseError::Malformed);
        }
        let message = CoseMac0Builder::new()
            .protected(header(iana::Algorithm::HMAC_256_256, &kid))
            .payload(read.payload.ok_or(CoseError::Malformed)?)
            .tag(read.tag)
            .build();
        if bytes_of(message.clone()) != bytes {
            return Err(CoseError::NotCanonical);
        }
        Ok(Mac0 { kid, message })
    }

    /// The id of the key that is said to have tagged.
    pub fn kid(&self) -> [u8; 16] {
        self.kid
    }

    /// The payload, not yet verified: to find out whose key to verify with, and for nothing else.
    pub fn payload_unverified(&self) -> &[u8] {
        self.message.payload.as_deref().unwrap_or_default()
    }

    /// The payload, if the key tagged it. Errors: `Signature`.
    pub fn verify(&self, key: &MacKey) -> Result<&[u8], CoseError> {
        let verify = |tag: &[u8], tagged: &[u8]| {
            if key.verify_raw(tagged, tag) { Ok(()) } else { Err(CoseError::Signature) }
        };
        self.message.verify_payload_tag(&[], || CoseError::Malformed, verify)?;
        Ok(self.payload_unverified())
    }
}

/// The key id of a COSE_Sign1 or COSE_Mac0, without reading further: to choose a key, to bound work by key.
///
/// Errors: `Malformed`. The rest of the message may still turn out not to be in the expected form.
pub fn peek_kid(bytes: &[u8]) -> Result<[u8; 16], CoseError> {
    let peek = || -> Result<Option<[u8; 16]>, minicbor::decode::Error> {
        let mut outer = Decoder::new(bytes);
        if outer.array()? != Some(4) {
            return Ok(None);
        }
        let mut protected = Decoder::new(outer.bytes()?);
        let two_fields = protected.map()? == Some(2);
        let algorithm_first = protected.u8()? == 1;
        protected.i8()?;
        let kid_second = protected.u8()? == 4;
        let kid = protected.bytes()?.try_into().ok();
        Ok(kid.filter(|_| two_fields && algorithm_first && kid_second))
    };
    peek().ok().flatten().ok_or(CoseError::Malformed)
}

// The algorithm numbers of G11, so that a change in the library cannot change them unseen.
const _: () = {
    assert!(iana::Algorithm::EdDSA as i64 == -8);
    assert!(iana::Algorithm::HMAC_256_256 as i64 == 5);
};
