//! Envelopes, signed and tagged messages, key files: what was changed does not open, and what opens was not changed.

use std::sync::LazyLock;

use florin_crypto::{
    Envelope, KemSecretKey, KeyFileParams, Mac0, MacKey, RestKey, Secret, SeededEntropy, Sign1, SigningKey,
    VerifyKey, cose, decode_strict, encode, kem, open_key_file, peek_kid, reply_open, reply_seal,
    seal_key_file,
};

use crate::edit::edited;
use crate::say::{choice, fine, some};

/// A secret of a name.
pub(crate) fn secret<const N: usize>(name: &str) -> Secret<N> {
    Secret::random(&mut SeededEntropy::new(name))
}

struct Made {
    kem: KemSecretKey,
    from: KemSecretKey,
    base: Vec<u8>,
    auth: Vec<u8>,
    plain: Vec<u8>,
}

const KID: [u8; 16] = [7; 16];
const INFO: &[u8] = b"info";
const AAD: &[u8] = b"additional";

static ENVELOPES: LazyLock<Made> = LazyLock::new(|| {
    let (kem, from) = (KemSecretKey::from_seed(&secret("kem")), KemSecretKey::from_seed(&secret("from")));
    let plain = b"a message of some length, so that there is something to change".to_vec();
    let mut entropy = SeededEntropy::new("envelopes");
    let (base, _) = fine(kem::seal(&kem.public_key(), &KID, INFO, AAD, &plain, &mut entropy), "an envelope");
    let auth = kem::seal_auth(&from, &kem.public_key(), &KID, INFO, AAD, &plain, &mut entropy);
    let (auth, _) = fine(auth, "an envelope");
    Made { base: encode(&base), auth: encode(&auth), kem, from, plain }
});

/// A good envelope with edits, or bytes as they are: it opens only unchanged.
pub(crate) fn envelope(data: &[u8]) {
    let made = &*ENVELOPES;
    let (what, data) = choice(data);
    let good = if what & 1 == 0 { &made.base } else { &made.auth };
    let bytes = if what & 2 == 0 { edited(good, data) } else { data.to_vec() };
    let Ok(read) = decode_strict::<Envelope>(&bytes) else {
        assert!(bytes != *good, "a good envelope is not read");
        return;
    };
    let opened = if what & 1 == 0 {
        kem::open(&made.kem, INFO, AAD, &read)
    } else {
        kem::open_auth(&made.kem, &made.from.public_key(), INFO, AAD, &read)
    };
    match opened {
        Ok((plain, _)) => assert!(*plain == made.plain && with_kid(&bytes, good), "a changed envelope opens"),
        Err(_) => assert!(bytes != *good, "a good envelope does not open"),
    }
    sealed_reply(data);
}

/// The key id only says which key to try: whoever chooses one by it puts it into `info`.
fn with_kid(bytes: &[u8], good: &[u8]) -> bool {
    let same = |bytes: &[u8]| {
        decode_strict::<Envelope>(bytes).map(|e| Envelope { kid: [0; 16], ..e }).map(|e| encode(&e))
    };
    same(bytes) == same(good)
}

/// A sealed reply and bytes sealed at rest open only unchanged.
fn sealed_reply(script: &[u8]) {
    let (key, rest) = (secret("reply"), RestKey::new(&secret("rest")));
    let reply = reply_seal(&key, AAD, b"the reply");
    let changed = edited(&reply, script);
    assert_eq!(reply_open(&key, AAD, &changed).is_ok(), changed == reply);
    let sealed = rest.seal(&[1; 12], AAD, b"at rest");
    let changed = edited(&sealed, script);
    assert_eq!(rest.open(&[1; 12], AAD, &changed).is_ok(), changed == sealed);
}

struct Signed {
    key: VerifyKey,
    mac: MacKey,
    sign1: Vec<u8>,
    mac0: Vec<u8>,
}

const PAYLOAD: &[u8] = b"a payload that somebody answers for";

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let key = SigningKey::from_seed(&secret("signing"));
    let mac = MacKey::new(&secret("mac"));
    let (sign1, mac0) = (cose::sign1(&key, &KID, PAYLOAD), cose::mac0(&mac, &KID, PAYLOAD));
    Signed { key: key.verify_key(), mac, sign1, mac0 }
});

/// A signed or tagged message with edits, or bytes as they are: it verifies only unchanged.
pub(crate) fn signed(data: &[u8]) {
    let made = &*SIGNED;
    let (what, data) = choice(data);
    let good = if what & 1 == 0 { &made.sign1 } else { &made.mac0 };
    let bytes = if what & 2 == 0 { edited(good, data) } else { data.to_vec() };
    let verified = if what & 1 == 0 {
        let read = Sign1::parse(&bytes).ok();
        read.map(|read| (read.kid(), read.verify(&made.key).map(<[u8]>::to_vec)))
    } else {
        let read = Mac0::parse(&bytes).ok();
        read.map(|read| (read.kid(), read.verify(&made.mac).map(<[u8]>::to_vec)))
    };
    match verified {
        Some((kid, payload)) => {
            assert_eq!(peek_kid(&bytes).ok(), Some(kid), "two readers find two keys");
            match payload {
                Ok(payload) => assert!(bytes == *good && payload == PAYLOAD, "a changed message verifies"),
                Err(_) => assert!(bytes != *good, "a good message does not verify"),
            }
        }
        None => assert!(bytes != *good, "a good message is not read"),
    }
    if let Ok(bytes) = <[u8; 32]>::try_from(data)
        && let Ok(key) = VerifyKey::from_bytes(&bytes)
    {
        assert_eq!(key.to_bytes(), bytes);
        assert!(key.verify(PAYLOAD, &[0; 64]).is_err(), "nothing is a signature");
    }
}

/// Costs that a test can pay often.
pub(crate) const CHEAP: KeyFileParams = KeyFileParams { memory_kib: 8, passes: 1, lanes: 1 };

static KEY_FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut entropy = SeededEntropy::new("key file");
    let sealed = seal_key_file(b"passphrase", None, b"content", CHEAP, &mut entropy);
    fine(sealed, "a key file")
});

/// A key file with edits, or bytes as they are: it opens only unchanged, and costs nothing beyond its bounds.
pub(crate) fn key_file(data: &[u8]) {
    let (what, data) = choice(data);
    let good = &*KEY_FILE;
    let bytes = if what & 1 == 0 { edited(good, data) } else { data.to_vec() };
    // What a file asks for within the bounds is paid for each try: here only cheap ones are tried.
    if is_dear(&bytes) {
        return;
    }
    match open_key_file(&bytes, b"passphrase", None) {
        Ok(content) => assert!(bytes == *good && *content == *b"content", "a changed key file opens"),
        Err(_) => assert!(bytes != *good, "a good key file does not open"),
    }
    assert!(open_key_file(good, data, None).is_err() || data == b"passphrase", "another passphrase opens it");
    some(open_key_file(good, b"passphrase", Some(&secret("second"))).err(), "a factor that it has not");
}

/// Whether its costs are within the bounds and above what a test can pay often.
fn is_dear(bytes: &[u8]) -> bool {
    let costs = || {
        let mut d = minicbor::Decoder::new(bytes);
        d.array().ok()?;
        d.str().ok()?;
        d.u64().ok()?;
        Some((d.u32().ok()?, d.u32().ok()?))
    };
    costs().is_some_and(|(memory, passes)| memory > 1024 || passes > 4)
}
