//! The number cipher: a block of 16 bytes under AES-128, which makes coin ids out of coin numbers.
//! Source: FIPS 197; the books ("Coins are numbered; outsiders see only a cipher of the number").

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};

use crate::secret::Secret;

/// A permutation of 16-byte blocks. It authenticates nothing: what is deciphered must be checked.
pub struct NumberCipher(Aes128);

impl NumberCipher {
    /// The cipher of a key.
    pub fn new(key: &Secret<16>) -> Self {
        Self(Aes128::new(key.expose().into()))
    }

    /// The public id of a number.
    pub fn encipher(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// The number of a public id.
    pub fn decipher(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.decrypt_block(&mut block);
        block.into()
    }
}
