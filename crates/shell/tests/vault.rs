//! The vault on a real disk: what opens it, what does not, and what is never overwritten.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use florin_crypto::{Secret, SeededEntropy, Zeroizing};
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::{NAME_BYTES_MAX, SECRETS_MAX, VAULT_FILE, Vault, VaultError, VaultNeeds};

struct Place {
    _dir: tempfile::TempDir,
    home: PathBuf,
    second: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (home, second) = (dir.path().join("state/wallet"), dir.path().join("keys/wallet/second-factor"));
    Place { _dir: dir, home, second }
}

fn pass(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn create(at: &Place, second: Option<&Path>, passphrase: &Passphrase) -> Result<Vault, VaultError> {
    Vault::create(&at.home, second, passphrase, &["store", "sign"], &mut SeededEntropy::from_number(1))
}

/// `Vault` has no `Debug`, so that its errors are taken out by hand.
fn error(result: Result<Vault, VaultError>) -> VaultError {
    result.err().expect("it must not open")
}

fn same(a: &Vault, b: &Vault, name: &str) -> bool {
    a.secret(name).unwrap().ct_eq(&b.secret(name).unwrap())
}

#[test]
fn what_was_made_opens_again_with_the_same_secrets() {
    let at = place();
    let made = create(&at, Some(&at.second), &pass("p")).unwrap();
    let opened = Vault::open(&at.home, Some(&at.second), &pass("p")).unwrap();
    assert_eq!(opened.names().collect::<Vec<_>>(), ["sign", "store"]);
    assert!(same(&made, &opened, "store") && same(&made, &opened, "sign"));
    assert!(!opened.secret("store").unwrap().ct_eq(&opened.secret("sign").unwrap()));
    assert_eq!(Vault::needs(&at.home).unwrap(), VaultNeeds { passphrase: true, second_factor: true });
    assert!(matches!(opened.secret("other"), Err(VaultError::NoSuchSecret { name, .. }) if name == "other"));
}

#[test]
fn files_are_for_their_owner_only_and_hold_no_secret_in_clear() {
    let at = place();
    let vault = create(&at, Some(&at.second), &pass("p")).unwrap();
    for (path, mode) in [
        (at.home.clone(), 0o700),
        (at.home.join(VAULT_FILE), 0o600),
        (at.second.parent().unwrap().to_owned(), 0o700),
        (at.second.clone(), 0o600),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{}", path.display());
    }
    let bytes = fs::read(at.home.join(VAULT_FILE)).unwrap();
    let secret = vault.secret("store").unwrap();
    assert!(!bytes.windows(32).any(|window| window == secret.expose()));
    assert!(!bytes.windows(5).any(|window| window == b"store"));
}

#[test]
fn keys_are_never_overwritten_and_a_second_factor_neither() {
    let at = place();
    create(&at, Some(&at.second), &pass("p")).unwrap();
    let (vault, factor) = (fs::read(at.home.join(VAULT_FILE)).unwrap(), fs::read(&at.second).unwrap());
    let refused = error(create(&at, Some(&at.second), &pass("q")));
    assert!(matches!(refused, VaultError::AlreadyThere { .. }));
    assert_eq!(refused.exit_code(), ExitCode::CannotCreate);
    assert_eq!(fs::read(at.home.join(VAULT_FILE)).unwrap(), vault);
    // Another vault with the same factor uses it as it is.
    let other =
        Place { home: at.home.join("other"), second: at.second.clone(), _dir: tempfile::tempdir().unwrap() };
    create(&other, Some(&other.second), &pass("p")).unwrap();
    assert_eq!(fs::read(&at.second).unwrap(), factor);
    assert!(Vault::open(&at.home, Some(&at.second), &pass("p")).is_ok());
}

#[test]
fn each_factor_alone_opens_nothing() {
    let at = place();
    create(&at, Some(&at.second), &pass("p")).unwrap();
    let wrong = error(Vault::open(&at.home, Some(&at.second), &pass("q")));
    assert!(matches!(wrong, VaultError::WrongPassphraseOrDamaged { .. }));
    assert_eq!(wrong.exit_code(), ExitCode::NotAllowed);
    let none = error(Vault::open(&at.home, Some(&at.second), &Passphrase::none()));
    assert!(matches!(none, VaultError::WrongPassphraseOrDamaged { .. }));
    let missing = error(Vault::open(&at.home, None, &pass("p")));
    assert!(matches!(missing, VaultError::SecondFactorMissing { second: None, .. }));

    let factor = fs::read(&at.second).unwrap();
    fs::remove_file(&at.second).unwrap();
    let missing = error(Vault::open(&at.home, Some(&at.second), &pass("p")));
    assert!(missing.to_string().contains("which is not at"), "{missing}");
    fs::write(&at.second, b"deadbeef\n").unwrap();
    let damaged = error(Vault::open(&at.home, Some(&at.second), &pass("p")));
    assert!(matches!(damaged, VaultError::SecondFactorDamaged { .. }));
    fs::write(&at.second, "00".repeat(32)).unwrap();
    let other = error(Vault::open(&at.home, Some(&at.second), &pass("p")));
    assert!(matches!(other, VaultError::WrongPassphraseOrDamaged { .. }));
    fs::write(&at.second, factor).unwrap();
    assert!(Vault::open(&at.home, Some(&at.second), &pass("p")).is_ok());
}

#[test]
fn without_a_passphrase_the_file_says_so() {
    let at = place();
    let made = create(&at, None, &Passphrase::none()).unwrap();
    assert!(!made.has_passphrase());
    assert_eq!(Vault::needs(&at.home).unwrap(), VaultNeeds { passphrase: false, second_factor: false });
    let opened = Vault::open(&at.home, Some(&at.second), &Passphrase::none()).unwrap();
    assert!(!opened.has_passphrase() && same(&made, &opened, "store"));
}

#[test]
fn a_missing_foreign_newer_or_cut_file_is_told_apart() {
    let at = place();
    let open = || error(Vault::open(&at.home, None, &Passphrase::none()));
    assert!(matches!(open(), VaultError::NotThere { .. }));
    create(&at, None, &Passphrase::none()).unwrap();
    let path = at.home.join(VAULT_FILE);
    let bytes = fs::read(&path).unwrap();
    for foreign in
        [b"".as_slice(), b"-----BEGIN PRIVATE KEY-----", &bytes[..bytes.len() - 1], &[0x80; 100_000]]
    {
        fs::write(&path, foreign).unwrap();
        assert!(matches!(open(), VaultError::NotAVault { .. }));
    }
    let mut newer = bytes.clone();
    newer[14] = 2;
    fs::write(&path, newer).unwrap();
    assert!(matches!(open(), VaultError::Version { version: 2, .. }));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let at = place();
    let made = create(&at, None, &pass("p")).unwrap();
    let path = at.home.join(VAULT_FILE);
    let bytes = fs::read(&path).unwrap();
    // The head in full and the rest in steps: each try that gets as far as the passphrase costs 19 MiB of work.
    for at_byte in (0..40).chain((40..bytes.len()).step_by(17)) {
        let mut flipped = bytes.clone();
        flipped[at_byte] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(Vault::open(&at.home, None, &pass("p")).is_err(), "byte {at_byte}");
    }
    fs::write(&path, &bytes).unwrap();
    assert!(same(&made, &Vault::open(&at.home, None, &pass("p")).unwrap(), "sign"));
}

#[test]
fn a_secret_is_added_under_the_right_passphrase_only() {
    let at = place();
    let mut rng = SeededEntropy::from_number(2);
    let mut vault = create(&at, Some(&at.second), &pass("p")).unwrap();
    let wrong = vault.add("mac", &pass("q"), &mut rng).unwrap_err();
    assert!(matches!(wrong, VaultError::WrongPassphraseOrDamaged { .. }));
    assert!(vault.secret("mac").is_err());
    vault.add("mac", &pass("p"), &mut rng).unwrap();
    vault.insert("given", Secret::new([7; 32]), &pass("p"), &mut rng).unwrap();
    let twice = vault.add("mac", &pass("p"), &mut rng).unwrap_err();
    assert!(matches!(twice, VaultError::SecretAlreadyThere { .. }));
    let opened = Vault::open(&at.home, Some(&at.second), &pass("p")).unwrap();
    assert_eq!(opened.names().collect::<Vec<_>>(), ["given", "mac", "sign", "store"]);
    assert!(same(&vault, &opened, "mac") && same(&vault, &opened, "store"));
    assert_eq!(opened.secret("given").unwrap().expose(), &[7; 32]);
}

#[test]
fn bounds_hold_and_what_is_at_the_bound_opens_again() {
    let at = place();
    let mut rng = SeededEntropy::from_number(3);
    let names: Vec<String> = (0..=SECRETS_MAX).map(|n| format!("{n:0>NAME_BYTES_MAX$}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for too_much in [names.as_slice(), &[""], &[long.as_str()]] {
        let refused = error(Vault::create(&at.home, None, &Passphrase::none(), too_much, &mut rng));
        assert!(matches!(refused, VaultError::TooMuch));
    }
    assert!(!at.home.exists());
    Vault::create(&at.home, None, &Passphrase::none(), &names[..SECRETS_MAX], &mut rng).unwrap();
    let opened = Vault::open(&at.home, None, &Passphrase::none()).unwrap();
    assert_eq!(opened.names().count(), SECRETS_MAX);
}

#[test]
fn an_open_vault_changes_its_file_without_the_passphrase_and_only_its_own() {
    let at = place();
    let mut rng = SeededEntropy::from_number(9);
    create(&at, Some(&at.second), &pass("p")).unwrap();
    let mut open = Vault::open(&at.home, Some(&at.second), &pass("p")).unwrap();
    let reread = |name: &str| Vault::open(&at.home, Some(&at.second), &pass("p")).unwrap().secret(name);
    open.replace("epoch-1", Secret::new([1; 32]), &mut rng).unwrap();
    assert!(reread("epoch-1").unwrap().ct_eq(&Secret::new([1; 32])));
    let before = fs::read(at.home.join(VAULT_FILE)).unwrap();
    open.replace("epoch-1", Secret::new([2; 32]), &mut rng).unwrap();
    assert_ne!(fs::read(at.home.join(VAULT_FILE)).unwrap(), before);
    assert!(reread("epoch-1").unwrap().ct_eq(&Secret::new([2; 32])));
    // Two that are open: each writes on what the other has written.
    let mut other = open.duplicate();
    other.replace("epoch-2", Secret::new([3; 32]), &mut rng).unwrap();
    open.remove("epoch-1", &mut rng).unwrap();
    open.remove("epoch-1", &mut rng).unwrap();
    assert!(reread("epoch-2").is_ok() && reread("sign").is_ok());
    assert!(matches!(reread("epoch-1"), Err(VaultError::NoSuchSecret { .. })));
    assert!(Vault::open(&at.home, Some(&at.second), &pass("q")).is_err(), "the passphrase is what it was");
    assert_eq!(fs::read_dir(&at.home).unwrap().count(), 1, "nothing is left aside");
    // Another passphrase meanwhile, or another file: it is not written over.
    let mut rewritten = Vault::open(&at.home, Some(&at.second), &pass("p")).unwrap();
    rewritten.insert("more", Secret::new([4; 32]), &pass("p"), &mut rng).unwrap();
    let file = fs::read(at.home.join(VAULT_FILE)).unwrap();
    let refused = open.replace("epoch-3", Secret::new([5; 32]), &mut rng).unwrap_err();
    assert!(matches!(refused, VaultError::WrongPassphraseOrDamaged { .. }));
    assert_eq!(fs::read(at.home.join(VAULT_FILE)).unwrap(), file);
    assert!(matches!(open.secret("epoch-3"), Err(VaultError::NoSuchSecret { .. })));
}
