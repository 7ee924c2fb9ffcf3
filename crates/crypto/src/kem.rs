//! Sealed envelopes: HPKE in base and auth mode, one message each, with an exporter for the reply key.
//! Source: RFC 9180, suite DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; G8 (exporter), G9 (padding, one
//! failure), G11 (`[suite, kid, enc, ct]`) of the rails.

use std::fmt;

use data_encoding::HEXLOWER;
use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, HpkeError, Kem as _, OpModeR, OpModeS, Serializable as _};
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};
use zeroize::{Zeroize as _, Zeroizing};

use crate::cbor::{byte_array, expect_array};
use crate::entropy::{Entropy, LibraryRng};
use crate::pad::{pad, unpad};
use crate::secret::Secret;

type Suite = X25519HkdfSha256;
type PrivateKey = <Suite as hpke::Kem>::PrivateKey;
type PublicKey = <Suite as hpke::Kem>::PublicKey;

/// The suite byte of X25519, HKDF-SHA256, AES-256-GCM.
pub const SUITE_X25519: u8 = 1;
/// The suite byte kept for X-Wing (X25519 with ML-KEM-768); not yet spoken.
pub const SUITE_XWING: u8 = 2;

/// Why an envelope was not sealed or not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KemError {
    /// The recipient's key is no usable key, or the plaintext is too large.
    #[error("the envelope cannot be sealed")]
    Seal,
    /// The one answer to everything that does not open: another suite, key, info, aad, sender, or changed bytes.
    #[error("the envelope does not open")]
    Open,
}

/// A key that opens envelopes, and proves its possession in auth mode; wiped on drop.
pub struct KemSecretKey(PrivateKey);

impl KemSecretKey {
    /// A new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self::from_seed(&Secret::random(entropy))
    }

    /// The key that DeriveKeyPair (RFC 9180 §7.1.3) makes of a seed.
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(Suite::derive_keypair(seed.expose()).0)
    }

    /// The key of its 32 stored bytes.
    #[allow(clippy::expect_used, reason = "32 bytes always are an X25519 key")]
    pub fn from_bytes(bytes: &Secret<32>) -> Self {
        Self(PrivateKey::from_bytes(bytes.expose()).expect("32 bytes are an X25519 key"))
    }

    /// The 32 bytes to store.
    pub fn to_bytes(&self) -> Secret<32> {
        let mut bytes = self.0.to_bytes();
        let mut secret = Secret::new([0; 32]);
        secret.expose_mut().copy_from_slice(&bytes);
        bytes.as_mut_slice().zeroize();
        secret
    }

    /// The key that others seal to.
    pub fn public_key(&self) -> KemPublicKey {
        KemPublicKey(Suite::sk_to_pk(&self.0).to_bytes().into())
    }
}

/// A key to seal to.
///
/// Shape: CBOR byte string of 32 bytes; bytes that are no usable key are refused when sealing.
/// Source: RFC 9180 §7.1.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KemPublicKey(pub [u8; 32]);

impl KemPublicKey {
    fn key(&self) -> Result<PublicKey, HpkeError> {
        PublicKey::from_bytes(&self.0)
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<C> Encode<C> for KemPublicKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for KemPublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        byte_array(d).map(Self)
    }
}

/// A sealed message.
///
/// Shape: CBOR array `[suite, kid, enc, ct]`: a small number, 16, 32 and n bytes. Units: ct is 512·2^n + 16 bytes.
/// Errors: another shape; another suite is refused when opening. Source: G11.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Which suite; only [`SUITE_X25519`] is spoken.
    pub suite: u8,
    /// The id of the key that opens it.
    pub kid: [u8; 16],
    /// The encapsulated key.
    pub enc: [u8; 32],
    /// The ciphertext.
    pub ct: Vec<u8>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope {{ suite: {}, ct: {} bytes, .. }}", self.suite, self.ct.len())
    }
}

impl<C> Encode<C> for Envelope {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(4)?.u8(self.suite)?.bytes(&self.kid)?.bytes(&self.enc)?.bytes(&self.ct)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Envelope {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        expect_array(d, 4)?;
        Ok(Self { suite: d.u8()?, kid: byte_array(d)?, enc: byte_array(d)?, ct: d.bytes()?.to_vec() })
    }
}

/// What both ends of one envelope can derive further keys from; it can neither seal nor open.
pub struct Exporter(Context);

enum Context {
    Sender(Box<AeadCtxS<AesGcm256, HkdfSha256, Suite>>),
    Receiver(Box<AeadCtxR<AesGcm256, HkdfSha256, Suite>>),
}

impl Exporter {
    /// The secret of a label: the same at both ends. Source: RFC 9180 §5.3.
    #[allow(clippy::expect_used, reason = "32 bytes are far below the limit of the KDF")]
    pub fn export(&self, label: &[u8]) -> Secret<32> {
        let mut secret = Secret::new([0; 32]);
        match &self.0 {
            Context::Sender(context) => context.export(label, secret.expose_mut()),
            Context::Receiver(context) => context.export(label, secret.expose_mut()),
        }
        .expect("32 bytes are below the limit of the KDF");
        secret
    }
}

/// Seals a message to a key (base mode). The plaintext is padded to 512·2^n bytes. Errors: `Seal`.
pub fn seal(
    to: &KemPublicKey,
    kid: &[u8; 16],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn Entropy,
) -> Result<(Envelope, Exporter), KemError> {
    seal_mode(&OpModeS::Base, to, kid, [info, aad, plaintext], rng)
}

/// Seals a message to a key and proves possession of one's own KEM key (auth mode). Errors: `Seal`.
pub fn seal_auth(
    from: &KemSecretKey,
    to: &KemPublicKey,
    kid: &[u8; 16],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn Entropy,
) -> Result<(Envelope, Exporter), KemError> {
    let mode = OpModeS::Auth((from.0.clone(), Suite::sk_to_pk(&from.0)));
    seal_mode(&mode, to, kid, [info, aad, plaintext], rng)
}

/// Opens an envelope of base mode. Errors: `Open`.
pub fn open(
    sk: &KemSecretKey,
    info: &[u8],
    aad: &[u8],
    envelope: &Envelope,
) -> Result<(Zeroizing<Vec<u8>>, Exporter), KemError> {
    open_mode(&OpModeR::Base, sk, info, aad, envelope)
}

/// Opens an envelope of auth mode that only the owner of `from` can have sealed. Errors: `Open`.
pub fn open_auth(
    sk: &KemSecretKey,
    from: &KemPublicKey,
    info: &[u8],
    aad: &[u8],
    envelope: &Envelope,
) -> Result<(Zeroizing<Vec<u8>>, Exporter), KemError> {
    let mode = OpModeR::Auth(from.key().map_err(|_| KemError::Open)?);
    open_mode(&mode, sk, info, aad, envelope)
}

fn seal_mode(
    mode: &OpModeS<'_, Suite>,
    to: &KemPublicKey,
    kid: &[u8; 16],
    [info, aad, plaintext]: [&[u8]; 3],
    rng: &mut dyn Entropy,
) -> Result<(Envelope, Exporter), KemError> {
    let padded = pad(plaintext).ok_or(KemError::Seal)?;
    let mut rng = LibraryRng(rng);
    let mut sealed = || -> Result<_, HpkeError> {
        let (enc, mut context) =
            hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, Suite>(mode, &to.key()?, info, &mut rng)?;
        let ct = context.seal(&padded, aad)?;
        Ok((enc.to_bytes().into(), ct, context))
    };
    let (enc, ct, context) = sealed().map_err(|_| KemError::Seal)?;
    let envelope = Envelope { suite: SUITE_X25519, kid: *kid, enc, ct };
    Ok((envelope, Exporter(Context::Sender(Box::new(context)))))
}

fn open_mode(
    mode: &OpModeR<'_, Suite>,
    sk: &KemSecretKey,
    info: &[u8],
    aad: &[u8],
    envelope: &Envelope,
) -> Result<(Zeroizing<Vec<u8>>, Exporter), KemError> {
    if envelope.suite != SUITE_X25519 {
        return Err(KemError::Open);
    }
    let opened = || -> Result<_, HpkeError> {
        let enc = <Suite as hpke::Kem>::EncappedKey::from_bytes(&envelope.enc)?;
        let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, Suite>(mode, &sk.0, &enc, info)?;
        let padded = Zeroizing::new(context.open(&envelope.ct, aad)?);
        Ok((padded, context))
    };
    let (padded, context) = opened().map_err(|_| KemError::Open)?;
    let plaintext = unpad(padded).ok_or(KemError::Open)?;
    Ok((plaintext, Exporter(Context::Receiver(Box::new(context)))))
}
