//! Keys from keys: HKDF-SHA-256 with an empty salt.
//! Source: RFC 5869.

use hkdf::HkdfExtract;
use sha2::Sha256;

use crate::secret::Secret;

/// `N` secret bytes from the joined input key material, bound to `info`.
///
/// The parts of `ikm` are joined as they are: callers give parts of fixed length. `N` is at most 8160.
#[allow(clippy::expect_used, reason = "the length is bounded when this is compiled")]
pub fn derive<const N: usize>(ikm: &[&[u8]], info: &[u8]) -> Secret<N> {
    const { assert!(N <= 8160, "HKDF-SHA-256 gives at most 255 blocks of 32 bytes") };
    let mut extract = HkdfExtract::<Sha256>::new(None);
    ikm.iter().for_each(|part| extract.input_ikm(part));
    let (_, hkdf) = extract.finalize();
    let mut okm = Secret::new([0; N]);
    hkdf.expand(info, okm.expose_mut()).expect("the length was checked");
    okm
}
