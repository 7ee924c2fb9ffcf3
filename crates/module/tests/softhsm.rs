//! The module against SoftHSM 2, a token in software: Debian's package softhsm2. Where it is missing the tests say so and
//! pass, except in CI, where it is installed. One test function: the library is one to a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use florin_books::Epoch;
use florin_coin::issuer::{CoinModule, ModuleError, SoftwareModule, TAG, epoch_info};
use florin_crypto::{MacKey, Secret, Zeroizing, cbor};
use florin_module::{Mode, OpenError, Pkcs11Module, Settings};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];
const PIN: &str = "1234-five";
const WITH_TOKEN: &str = "FLORIN_TEST_SOFTHSM";

fn library() -> Option<PathBuf> {
    LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// The tests run in a process of their own, since the token's settings are an environment variable.
#[test]
fn a_token_tags_coins_and_keeps_its_keys() {
    if std::env::var_os(WITH_TOKEN).is_some() {
        return;
    }
    let Some(library) = library() else {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "CI must have the package softhsm2");
        eprintln!("skipped: no SoftHSM 2 here (Debian: apt-get install softhsm2)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("softhsm2.conf");
    std::fs::create_dir(dir.path().join("tokens")).unwrap();
    let text = format!("directories.tokendir = {}\n", dir.path().join("tokens").display());
    std::fs::write(&conf, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "florin-test", "--so-pin", "87654321", "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "with_a_token", "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env(WITH_TOKEN, library)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success() && said.contains("1 passed"), "{said}\n{inside:?}");
}

fn settings(library: &Path, mode: Mode) -> Settings {
    let pin = Zeroizing::new(PIN.to_owned());
    Settings { library: library.into(), token: "florin-test".into(), pin, mode }
}

/// Run by the test above, which makes the token; alone it has none.
#[test]
fn with_a_token() {
    let Some(library) = std::env::var_os(WITH_TOKEN).map(PathBuf::from) else { return };
    wrong_doors(&library);
    let in_token = tags(&library, Mode::InToken);
    let derived = tags(&library, Mode::DerivedDaily);
    assert_ne!(in_token, derived, "two keys, two tags");
    derived_keys_go(&library);
    from_many_threads(&library);
    a_key_is_made_and_ended(&library);
    keys_stay(&library);
}

fn wrong_doors(library: &Path) {
    let open = |settings: &Settings| Pkcs11Module::open(settings, true).err().unwrap();
    let none = Settings { library: "/nowhere/lib.so".into(), ..settings(library, Mode::InToken) };
    assert!(matches!(open(&none), OpenError::Library(_)));
    let other = Settings { token: "another".into(), ..settings(library, Mode::InToken) };
    assert!(matches!(open(&other), OpenError::NoToken(_)));
    let pin = Settings { pin: Zeroizing::new("0000".into()), ..settings(library, Mode::InToken) };
    assert!(matches!(open(&pin), OpenError::Login(_)));
    for mode in [Mode::InToken, Mode::DerivedDaily] {
        let empty = Pkcs11Module::open(&settings(library, mode), false).err().unwrap();
        assert!(matches!(empty, OpenError::Keys(ModuleError::NoKey(_))), "an empty token is not ours");
    }
}

/// Tags verify, in this module and after it was opened again; not for another epoch, other bytes or another tag.
fn tags(library: &Path, mode: Mode) -> [u8; 32] {
    let module = Pkcs11Module::open(&settings(library, mode), true).unwrap();
    let proof = module.proof().unwrap();
    let tag = module.tag(Epoch(7), b"coin").unwrap();
    assert_eq!(tag, module.tag(Epoch(7), b"coin").unwrap(), "the same every time");
    assert_ne!(tag, module.tag(Epoch(8), b"coin").unwrap(), "each epoch has its key");
    drop(module);
    let module = Pkcs11Module::open(&settings(library, mode), false).unwrap();
    assert_eq!(proof, module.proof().unwrap());
    assert!(module.verify(Epoch(7), b"coin", &tag).unwrap());
    assert!(!module.verify(Epoch(7), b"cojn", &tag).unwrap());
    assert!(!module.verify(Epoch(8), b"coin", &tag).unwrap());
    assert!(!module.verify(Epoch(9), b"coin", &tag).unwrap(), "an epoch that has issued nothing");
    let mut bent = tag;
    bent[31] ^= 1;
    assert!(!module.verify(Epoch(7), b"coin", &bent).unwrap());
    tag
}

/// A derived key is out of memory after its day, whether anybody asks for a tag or not.
fn derived_keys_go(library: &Path) {
    let (later, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let clock = Arc::clone(&later);
    let now = Arc::new(move || begun + Duration::from_secs(clock.load(Ordering::SeqCst)));
    let module = Pkcs11Module::open_with_clock(&settings(library, Mode::DerivedDaily), true, now).unwrap();
    let tag = module.tag(Epoch(7), b"coin").unwrap();
    module.let_go();
    assert_eq!(module.keys_in_memory(), 1);
    later.store(24 * 60 * 60, Ordering::SeqCst);
    module.let_go();
    assert_eq!(module.keys_in_memory(), 0, "nobody has asked for a tag meanwhile");
    assert!(module.verify(Epoch(7), b"coin", &tag).unwrap(), "derived anew it is the same");
    later.store(2 * 24 * 60 * 60, Ordering::SeqCst);
    module.tag(Epoch(8), b"coin").unwrap();
    assert_eq!(module.keys_in_memory(), 1, "the old one has gone with the first use after its day");
}

fn from_many_threads(library: &Path) {
    let module = Pkcs11Module::open(&settings(library, Mode::InToken), false).unwrap();
    // All ask for a new epoch's key at once: it gets one.
    let tags: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| module.tag(Epoch(20), b"coin").unwrap())).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tags.iter().all(|tag| *tag == tags[0]));
    assert!(module.verify(Epoch(20), b"coin", &tags[0]).unwrap());
}

/// How many keys of the token have an epoch's id.
fn objects(library: &Path, epoch: Epoch) -> usize {
    let pkcs11 = Pkcs11::new(library).unwrap();
    let slots = pkcs11.get_slots_with_token().unwrap();
    let ours =
        |s: &cryptoki::slot::Slot| pkcs11.get_token_info(*s).unwrap().label().trim_end() == "florin-test";
    let session = pkcs11.open_ro_session(slots.into_iter().find(ours).unwrap()).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
    session.find_objects(&[Attribute::Id(epoch.0.to_be_bytes().to_vec())]).unwrap().len()
}

/// Before an epoch begins its key is made, once; when it was dropped the key is gone, and one of the same name is another.
fn a_key_is_made_and_ended(library: &Path) {
    let module = Pkcs11Module::open(&settings(library, Mode::InToken), false).unwrap();
    let (epoch, other) = (Epoch(30), Epoch(20));
    assert_eq!((module.proof_of(epoch).unwrap(), objects(library, epoch)), (None, 0));
    module.prepare(epoch).unwrap();
    let proof = module.proof_of(epoch).unwrap().unwrap();
    module.prepare(epoch).unwrap();
    assert_eq!(objects(library, epoch), 1, "twice asked, one key");
    let tag = module.tag(epoch, b"coin").unwrap();
    drop(module);
    let module = Pkcs11Module::open(&settings(library, Mode::InToken), false).unwrap();
    assert_eq!(module.proof_of(epoch).unwrap(), Some(proof), "after a restart");
    assert_ne!(module.proof_of(other).unwrap(), Some(proof));
    module.forget(epoch).unwrap();
    module.forget(epoch).unwrap();
    assert_eq!((module.proof_of(epoch).unwrap(), objects(library, epoch)), (None, 0), "destroyed");
    assert!(!module.verify(epoch, b"coin", &tag).unwrap());
    assert_eq!(objects(library, other), 1, "no other");
    module.prepare(epoch).unwrap();
    assert_ne!(module.tag(epoch, b"coin").unwrap(), tag, "its key cannot be made again");
    // Derived keys are the master's: there is nothing to make or to end.
    let derived = Pkcs11Module::open(&settings(library, Mode::DerivedDaily), false).unwrap();
    let before = derived.tag(epoch, b"coin").unwrap();
    derived.prepare(epoch).unwrap();
    assert_eq!(derived.proof_of(epoch).unwrap(), None);
    derived.forget(epoch).unwrap();
    assert_eq!(derived.tag(epoch, b"coin").unwrap(), before);
    assert_eq!(objects(library, epoch), 1, "nor does it end the other mode's");
}

/// No key of the token can be read; and the derived mode is a software module whose key the token makes.
fn keys_stay(library: &Path) {
    // It starts the library, which is one to a process.
    let module = Pkcs11Module::open(&settings(library, Mode::DerivedDaily), false).unwrap();
    let pkcs11 = Pkcs11::new(library).unwrap();
    let slots = pkcs11.get_slots_with_token().unwrap();
    let slot =
        slots.into_iter().find(|s| pkcs11.get_token_info(*s).unwrap().label().trim_end() == "florin-test");
    let session = pkcs11.open_ro_session(slot.unwrap()).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
    assert!(keys.len() >= 5, "anchor, master, epochs: {}", keys.len());
    for key in keys {
        let shown = session.get_attributes(key, &[AttributeType::Value, AttributeType::Extractable]).unwrap();
        assert!(!shown.iter().any(|a| matches!(a, Attribute::Value(_))), "a key was shown");
        assert!(shown.contains(&Attribute::Extractable(false)));
    }
    let master = session.find_objects(&[Attribute::Label(b"florin-coin-master".to_vec())]).unwrap()[0];
    let hmac = cryptoki::mechanism::Mechanism::Sha256Hmac;
    let key: [u8; 32] = session.sign(&hmac, master, &epoch_info(Epoch(3))).unwrap().try_into().unwrap();
    let expected = MacKey::new(&Secret::new(key)).tag(TAG, &[b"coin"]);
    assert_eq!(module.tag(Epoch(3), b"coin").unwrap(), expected);
}

/// What a token tags is what a software module with that key tags.
#[test]
fn a_software_module_tags_the_same_bytes() {
    let master = Secret::new([9; 32]);
    let epoch: Secret<32> = florin_crypto::derive(&[master.expose()], &epoch_info(Epoch(3)));
    let whole = MacKey::new(&epoch).tag(TAG, &[b"coin"]);
    let software = SoftwareModule::new(master);
    assert_eq!(software.tag(Epoch(3), b"coin").unwrap(), whole);
    assert_eq!(cbor::labelled(TAG, &[b"coin"]), cbor::encode(&(TAG, cbor::Bytes(b"coin".to_vec()))));
}
