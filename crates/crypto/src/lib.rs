//! Named cryptographic operations behind small types of our own: deterministic CBOR, digests, signatures, MACs,
//! sealed envelopes, sealed replies, the number cipher, and key files.
//! Source: G1-G11 of the rails; the RFC or FIPS of each primitive stands at the top of its file.
//!
//! Absent on purpose: chance (an argument, [`Entropy`]), time, files, keys at rest other than key files, and every
//! decision about who may do what.

pub mod aead;
pub mod cbor;
pub mod cipher;
pub mod cose;
pub mod derive;
pub mod digest;
pub mod entropy;
pub mod kem;
pub mod keyfile;
pub mod mac;
mod pad;
pub mod secret;
pub mod sign;

pub use aead::{OpenError, RestKey, reply_open, reply_seal};
pub use cbor::{ByteArray, Bytes, NotCanonical, decode_strict, encode};
pub use cipher::NumberCipher;
pub use cose::{CoseError, Mac0, Sign1, mac0, peek_kid, sign1};
pub use derive::derive;
pub use digest::{Digest, FileDigest, digest};
pub use entropy::{Entropy, SeededEntropy, random};
pub use kem::{Envelope, Exporter, KemError, KemPublicKey, KemSecretKey, open, open_auth, seal, seal_auth};
pub use keyfile::{KeyFileError, KeyFileParams, KeyFileSealer, open_key_file, seal_key_file};
pub use mac::MacKey;
pub use pad::{PAD_UNIT, padded_len};
pub use secret::Secret;
pub use sign::{BadKey, BadSignature, Signer, SigningKey, Verifier, VerifyKey};
pub use zeroize::Zeroizing;

/// The id of a key (G4): which key a tag, a signature or an envelope is made with.
pub type Kid = [u8; 16];
