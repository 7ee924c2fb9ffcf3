//! A wallet whose disk is gone.

use std::sync::Arc;

use florin_shell::Passphrase;
use florin_wallet::{OpenOptions, Wallet, seed_text};

use super::World;

impl World {
    /// What is on paper.
    pub fn seed(&self, name: &str) -> String {
        let none = Passphrase::none();
        let keys = self.wallet_dir("keys").join(name);
        seed_text(&OpenOptions::new(self.wallet_dir(name), Some(keys), &none)).unwrap().to_string()
    }

    /// The disk is gone; the wallet is made again from what is on paper.
    pub async fn crash_and_restore(self: &Arc<Self>, name: &str, seed: &str) -> Wallet {
        std::fs::remove_dir_all(self.wallet_dir(name)).unwrap();
        std::fs::remove_dir_all(self.wallet_dir("keys").join(name)).unwrap();
        self.init_with(name, Some(seed.parse().unwrap())).await.unwrap();
        self.open(name)
    }
}
