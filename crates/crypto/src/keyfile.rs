//! Key files: secrets on disk under a passphrase and, if wanted, a second factor.
//! Source: RFC 9106 (Argon2id) with the parameters that OWASP recommends; RFC 8452 (AES-256-GCM-SIV); RFC 5869.
//!
//! `key = HKDF(Argon2id(passphrase, salt) ‖ second factor or nothing, "florin-key-file/v1")`; everything before the
//! ciphertext is authenticated with it.

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Decoder, Encode, Encoder};
use zeroize::Zeroizing;

use crate::aead::RestKey;
use crate::cbor::{ByteArray, Bytes, decode_strict, encode, expect_array};
use crate::derive::derive;
use crate::entropy::{Entropy, random};
use crate::secret::Secret;

const MAGIC: &str = "florin-key-file";
const VERSION: u64 = 1;
const INFO: &[u8] = b"florin-key-file/v1";
/// The most memory that opening a file may take: a hostile file cannot ask for more.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// The most passes over that memory.
pub const PASSES_MAX: u32 = 16;
/// The most lanes.
pub const LANES_MAX: u32 = 8;

/// What it costs to try one passphrase.
///
/// Units: KiB of memory, passes over it, lanes. Errors: out of bounds when sealing or opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFileParams {
    /// Memory in KiB: at least 8 for each lane, at most [`MEMORY_KIB_MAX`].
    pub memory_kib: u32,
    /// Passes over the memory: 1 to [`PASSES_MAX`].
    pub passes: u32,
    /// Lanes: 1 to [`LANES_MAX`].
    pub lanes: u32,
}

impl Default for KeyFileParams {
    /// 19 MiB, 2 passes, 1 lane (OWASP).
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl KeyFileParams {
    /// As cheap as can be: for a file without a passphrase, where there is nothing to try, and for tests.
    #[must_use]
    pub const fn cheapest() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    fn checked(self) -> Result<Params, KeyFileError> {
        let bounded =
            self.memory_kib <= MEMORY_KIB_MAX && self.passes <= PASSES_MAX && self.lanes <= LANES_MAX;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        params.ok().filter(|_| bounded).ok_or(KeyFileError::Params)
    }
}

/// Why a key file does not open, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The bytes are something else.
    #[error("this is not a key file")]
    NotAKeyFile,
    /// A key file of a version that is not known here.
    #[error("this key file has version {version}, which is not known here")]
    Version {
        /// The version of the file.
        version: u64,
    },
    /// The costs are out of bounds.
    #[error("the costs of this key file are out of bounds")]
    Params,
    /// The file needs a second factor and none was given.
    #[error("this key file needs its second factor")]
    SecondFactorMissing,
    /// A second factor was given and the file has none: it is not the file that was meant.
    #[error("this key file has no second factor")]
    SecondFactorUnexpected,
    /// The passphrase or the second factor is another, or the file is damaged.
    #[error("the passphrase is wrong or the key file is damaged")]
    WrongPassphraseOrDamaged,
}

/// Everything before the ciphertext.
#[derive(Clone, PartialEq, Eq)]
struct Head {
    params: KeyFileParams,
    has_second: bool,
    salt: ByteArray<16>,
    nonce: ByteArray<12>,
}

impl Head {
    const FIELDS: u64 = 8;

    /// The additional data of the ciphertext: the first eight elements as an array of their own.
    fn aad(&self) -> Vec<u8> {
        encode(self)
    }

    fn key(&self, passphrase: &[u8], second: Option<&Secret<32>>) -> Result<RestKey, KeyFileError> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.checked()?);
        let mut stretched = Secret::<32>::new([0; 32]);
        argon2
            .hash_password_into(passphrase, &self.salt.0, stretched.expose_mut())
            .map_err(|_| KeyFileError::Params)?;
        let second: &[u8] = second.map_or(&[], |second| second.expose());
        Ok(RestKey::new(&derive(&[stretched.expose(), second], INFO)))
    }

    fn fields<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let KeyFileParams { memory_kib, passes, lanes } = self.params;
        e.str(MAGIC)?.u64(VERSION)?.u32(memory_kib)?.u32(passes)?.u32(lanes)?.bool(self.has_second)?;
        e.bytes(&self.salt.0)?.bytes(&self.nonce.0)?.ok()
    }
}

impl Encode<()> for Head {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut (),
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.fields(e.array(Self::FIELDS)?)
    }
}

/// The whole file: `["florin-key-file", 1, m, t, p, has_second, salt, nonce, ct]`.
struct File {
    head: Head,
    ct: Bytes,
}

impl Encode<()> for File {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut (),
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.head.fields(e.array(9)?)?;
        e.bytes(&self.ct.0)?.ok()
    }
}

impl<'b> Decode<'b, ()> for File {
    fn decode(d: &mut Decoder<'b>, ctx: &mut ()) -> Result<Self, minicbor::decode::Error> {
        expect_array(d, 9)?;
        d.str()?;
        d.u64()?;
        let params = KeyFileParams { memory_kib: d.u32()?, passes: d.u32()?, lanes: d.u32()? };
        let has_second = d.bool()?;
        let salt = ByteArray::decode(d, ctx)?;
        let nonce = ByteArray::decode(d, ctx)?;
        Ok(File { head: Head { params, has_second, salt, nonce }, ct: Bytes::decode(d, ctx)? })
    }
}

/// The version of a key file, without reading further; none if it is something else.
fn version_of(bytes: &[u8]) -> Option<u64> {
    let mut d = Decoder::new(bytes);
    d.array().ok()??;
    if d.str().ok()? != MAGIC {
        return None;
    }
    d.u64().ok()
}

/// What seals a key file again without its passphrase: its costs and salt, and the key that was made of them. Wiped on drop.
pub struct KeyFileSealer {
    params: KeyFileParams,
    has_second: bool,
    salt: ByteArray<16>,
    key: RestKey,
}

impl KeyFileSealer {
    /// One for a new file. Errors: `Params`.
    pub fn new(
        passphrase: &[u8],
        second: Option<&Secret<32>>,
        params: KeyFileParams,
        rng: &mut dyn Entropy,
    ) -> Result<Self, KeyFileError> {
        let (salt, nonce) = (ByteArray(random(rng)), ByteArray([0; 12]));
        let head = Head { params, has_second: second.is_some(), salt, nonce };
        let key = head.key(passphrase, second)?;
        Ok(Self { params, has_second: head.has_second, salt: head.salt, key })
    }

    /// Opens a key file and keeps what seals it again. Errors, in order: those of [`KeyFileError`].
    pub fn open(
        bytes: &[u8],
        passphrase: &[u8],
        second: Option<&Secret<32>>,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), KeyFileError> {
        let File { head, ct } = read_file(bytes)?;
        match (head.has_second, second) {
            (true, None) => return Err(KeyFileError::SecondFactorMissing),
            (false, Some(_)) => return Err(KeyFileError::SecondFactorUnexpected),
            (true, Some(_)) | (false, None) => {}
        }
        let key = head.key(passphrase, second)?;
        let sealer = Self { params: head.params, has_second: head.has_second, salt: head.salt, key };
        let content = sealer.open_ct(&head, &ct)?;
        Ok((sealer, content))
    }

    /// Opens a file that this has sealed, or was opened from. Errors: those of [`KeyFileError`]; another passphrase or
    /// factor, or a file that was made anew, is `WrongPassphraseOrDamaged`.
    pub fn open_again(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let File { head, ct } = read_file(bytes)?;
        self.open_ct(&head, &ct)
    }

    /// Seals other content, under a fresh nonce.
    pub fn seal(&self, content: &[u8], rng: &mut dyn Entropy) -> Vec<u8> {
        let nonce = ByteArray(random(rng));
        let head = Head { params: self.params, has_second: self.has_second, salt: self.salt, nonce };
        let ct = self.key.seal(&head.nonce.0, &head.aad(), content);
        encode(&File { head, ct: Bytes(ct) })
    }

    /// Another one of the same.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { params: self.params, has_second: self.has_second, salt: self.salt, key: self.key.duplicate() }
    }

    fn open_ct(&self, head: &Head, ct: &Bytes) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        // The head is additional data: one of another file does not open with this key.
        self.key.open(&head.nonce.0, &head.aad(), &ct.0).map_err(|_| KeyFileError::WrongPassphraseOrDamaged)
    }
}

fn read_file(bytes: &[u8]) -> Result<File, KeyFileError> {
    match version_of(bytes) {
        Some(VERSION) => {}
        Some(version) => return Err(KeyFileError::Version { version }),
        None => return Err(KeyFileError::NotAKeyFile),
    }
    let file: File = decode_strict(bytes).map_err(|_| KeyFileError::NotAKeyFile)?;
    file.head.params.checked()?;
    Ok(file)
}

/// Seals `content` under a passphrase and, if given, a second factor. Errors: `Params`.
pub fn seal_key_file(
    passphrase: &[u8],
    second: Option<&Secret<32>>,
    content: &[u8],
    params: KeyFileParams,
    rng: &mut dyn Entropy,
) -> Result<Vec<u8>, KeyFileError> {
    Ok(KeyFileSealer::new(passphrase, second, params, rng)?.seal(content, rng))
}

/// Opens a key file. Errors, in order: those of [`KeyFileError`].
pub fn open_key_file(
    bytes: &[u8],
    passphrase: &[u8],
    second: Option<&Secret<32>>,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    KeyFileSealer::open(bytes, passphrase, second).map(|(_, content)| content)
}
