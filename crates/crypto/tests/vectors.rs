//! Published vectors (RFC, FIPS), and our own from `vectors.py`, which shares no code with this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use data_encoding::HEXLOWER;
use florin_crypto::*;
use hpke::{Deserializable, Kem, OpModeR, Serializable};

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

fn secret<const N: usize>(text: &str) -> Secret<N> {
    Secret::new(hex_array(text))
}

/// Gives out prepared bytes, to meet vectors that prescribe the randomness.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
    }
}

const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
const IKM_E: &str = "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234";
const IKM_R: &str = "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037";
const PK_R: &str = "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d";
/// The RFC prints 46…c8; "SerializePrivateKey() MUST clamp its output" (§7.1.2) makes 40…48 of it, the same key.
const SK_R: &str = "4012c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8a48";
const SK_R_UNCLAMPED: &str = "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8";
const ENC: &str = "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431";
const AAD: &str = "436f756e742d30";
const PT: &[u8] = b"Beauty is truth, truth beauty";

#[test]
fn rfc_8032_ed25519_tests_1_to_3() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in cases {
        let key = SigningKey::from_seed(&secret(seed));
        assert_eq!(key.verify_key().to_bytes(), hex_array(public));
        assert_eq!(key.sign(&hex(message)), hex_array(signature));
        VerifyKey::from_bytes(&hex_array(public))
            .unwrap()
            .verify(&hex(message), &hex_array(signature))
            .unwrap();
        assert_eq!(*key.seed().expose(), hex_array(seed));
    }
}

#[test]
fn rfc_5869_test_3_and_split_input() {
    let okm = derive::<42>(&[&[0x0b; 22]], b"");
    let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
    assert_eq!(HEXLOWER.encode(okm.expose()), expected);
    assert!(okm.ct_eq(&derive::<42>(&[&[0x0b; 20], &[0x0b; 2]], b"")));
    assert!(!okm.ct_eq(&derive::<42>(&[&[0x0b; 22]], b"other")));
}

#[test]
fn rfc_8452_aes_256_gcm_siv() {
    let mut key = [0; 32];
    key[0] = 1;
    let key = RestKey::new(&Secret::new(key));
    let mut nonce = [0; 12];
    nonce[0] = 3;
    let cases = [
        ("", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
        ("", "0100000000000000", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
        ("01", "0200000000000000", "1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
    ];
    for (aad, plaintext, result) in cases {
        assert_eq!(HEXLOWER.encode(&key.seal(&nonce, &hex(aad), &hex(plaintext))), result);
        assert_eq!(*key.open(&nonce, &hex(aad), &hex(result)).unwrap(), hex(plaintext));
    }
}

#[test]
fn fips_197_aes_128() {
    let cipher = NumberCipher::new(&secret("000102030405060708090a0b0c0d0e0f"));
    let (clear, enciphered) = ("00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a");
    assert_eq!(cipher.encipher(hex_array(clear)), hex_array(enciphered));
    assert_eq!(cipher.decipher(hex_array(enciphered)), hex_array(clear));
}

#[test]
fn rfc_9106_argon2id() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
    let mut builder = ParamsBuilder::new();
    builder.m_cost(32).t_cost(3).p_cost(4).output_len(32).data(AssociatedData::new(&[4; 12]).unwrap());
    let params = builder.build().unwrap();
    let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
    assert_eq!(HEXLOWER.encode(&tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}

/// RFC 9180 A.1.1 has AES-128-GCM, which no suite here speaks: it checks the library below us.
#[test]
fn rfc_9180_a_1_1_below() {
    type X25519 = hpke::kem::X25519HkdfSha256;
    let (sk, pk) = X25519::derive_keypair(&hex(IKM_R));
    assert_eq!(sk.to_bytes().as_slice(), hex(SK_R));
    assert_eq!(pk.to_bytes().as_slice(), hex(PK_R));
    let enc = <X25519 as Kem>::EncappedKey::from_bytes(&hex(ENC)).unwrap();
    let mut context = hpke::setup_receiver::<hpke::aead::AesGcm128, hpke::kdf::HkdfSha256, X25519>(
        &OpModeR::Base,
        &sk,
        &enc,
        &hex(INFO),
    )
    .unwrap();
    let ct = "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a";
    assert_eq!(context.open(&hex(ct), &hex(AAD)).unwrap(), PT);
    for (label, secret) in [
        ("", "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"),
        ("00", "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5"),
        ("54657374436f6e74657874", "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931"),
    ] {
        let mut out = [0; 32];
        context.export(&hex(label), &mut out).unwrap();
        assert_eq!(HEXLOWER.encode(&out), secret);
    }
}

#[test]
fn kem_keys_of_rfc_9180() {
    let sk = KemSecretKey::from_seed(&secret(IKM_R));
    assert_eq!(*sk.to_bytes().expose(), hex_array(SK_R));
    assert_eq!(sk.public_key().0, hex_array(PK_R));
    assert_eq!(KemSecretKey::from_bytes(&sk.to_bytes()).public_key(), sk.public_key());
    assert_eq!(KemSecretKey::from_bytes(&secret(SK_R_UNCLAMPED)).public_key(), sk.public_key());
}

/// From vectors.py: the keys of RFC 9180 A.1.1 with the suite spoken here, padded.
#[test]
fn envelope_suite_1() {
    let sk = KemSecretKey::from_seed(&secret(IKM_R));
    let sender = KemSecretKey::from_seed(&Secret::new(std::array::from_fn(|i| i as u8)));
    let pk_s = "b1f1b840de7a3241b02748cf9b05b74dc8c5e8451298738817bd76aa8ebe8c2b";
    assert_eq!(sender.public_key().0, hex_array(pk_s));
    let (to, kid) = (sk.public_key(), [7; 16]);
    let mut rng = Fixed(hex(IKM_E).repeat(2));
    let base = seal(&to, &kid, &hex(INFO), &hex(AAD), PT, &mut rng).unwrap();
    let auth = seal_auth(&sender, &to, &kid, &hex(INFO), &hex(AAD), PT, &mut rng).unwrap();
    for ((envelope, exporter), ct_start, tag, export) in [
        (
            &base,
            "090b7dc225419f7da9e8b460becfbb96a26c7964d79b8010d397fa8385",
            "b9c581e11bf7462dc52342257baabbf3",
            "a1f0b0587d1a613ebc7719b3c66272251beccc161f139aeec40ec11053530e26",
        ),
        (
            &auth,
            "f63f9485c407549c0a90b8564f0190e130e086a84daae14a597aa6af20",
            "6979af8fe88faf85a7dbe797f39fb64a",
            "4686f548fc8818c7642ccc85f740f58a4768679bfcb01c46e29af898bf17937d",
        ),
    ] {
        assert_eq!((envelope.suite, envelope.kid, envelope.ct.len()), (1, kid, 528));
        assert_eq!(envelope.enc, hex_array(ENC));
        assert_eq!(HEXLOWER.encode(&envelope.ct[..29]), ct_start);
        assert_eq!(HEXLOWER.encode(&envelope.ct[512..]), tag);
        assert_eq!(HEXLOWER.encode(exporter.export(b"TestContext").expose()), export);
    }
    let (plaintext, exporter) = open(&sk, &hex(INFO), &hex(AAD), &base.0).unwrap();
    assert_eq!(*plaintext, PT);
    assert!(exporter.export(b"TestContext").ct_eq(&base.1.export(b"TestContext")));
    assert!(!exporter.export(b"TestContext").ct_eq(&exporter.export(b"other")));
    let (plaintext, exporter) = open_auth(&sk, &sender.public_key(), &hex(INFO), &hex(AAD), &auth.0).unwrap();
    assert_eq!(*plaintext, PT);
    assert!(exporter.export(b"TestContext").ct_eq(&auth.1.export(b"TestContext")));
}

/// From vectors.py.
#[test]
fn labelled_digest_and_tag() {
    let parts: [&[u8]; 2] = [b"one", b""];
    let sum = digest("florin/v1/test", &parts);
    assert_eq!(format!("{sum:?}"), "29c09bf02105c66bb3b9c1b53a001ffded5febba10eda104d887b4db9d31f60a");
    assert_eq!(sum.short(), sum.as_bytes()[..16]);
    let key = MacKey::new(&Secret::new([9; 32]));
    let tag = key.tag("florin/v1/test", &parts);
    assert_eq!(HEXLOWER.encode(&tag), "7908f513d659bcfdfe5913a0fc55c6350baac48196fec23ebeca18764956360f");
    assert!(key.verify("florin/v1/test", &parts, &tag));
    assert!(!key.verify("florin/v1/tesT", &parts, &tag));
    assert!(!key.verify("florin/v1/test", &[b"on", b"e"], &tag));
    assert!(!key.verify("florin/v1/test", &[b"one"], &tag));
    assert_ne!(digest("florin/v1/test", &[b"one"]), sum);
}

/// From vectors.py, where the Sig_structure and MAC_structure are put together by hand.
#[test]
fn cose_bytes() {
    let kid = std::array::from_fn(|i| i as u8);
    let signing = SigningKey::from_seed(&Secret::new([3; 32]));
    let signed = sign1(&signing, &kid, b"payload");
    assert_eq!(
        HEXLOWER.encode(&signed),
        "8455a201270450000102030405060708090a0b0c0d0e0fa0477061796c6f616458403d5bad733005bb564cc19a7e2465b073616a6618db4dd6c3e8987dc32c2c66733e6ca4730a11e6da61398b48c71dceb59d6eca30e46a475b6fe2902e67116707"
    );
    let read = Sign1::parse(&signed).unwrap();
    assert_eq!((read.kid(), peek_kid(&signed)), (kid, Ok(kid)));
    assert_eq!(read.verify(&signing.verify_key()).unwrap(), b"payload");

    let key = MacKey::new(&Secret::new([9; 32]));
    let tagged = mac0(&key, &kid, b"payload");
    assert_eq!(
        HEXLOWER.encode(&tagged),
        "8455a201050450000102030405060708090a0b0c0d0e0fa0477061796c6f616458202849beabd07d1199f963d48d707249f0eef5a72ce02ad952362a209a048cf0c4"
    );
    let read = Mac0::parse(&tagged).unwrap();
    assert_eq!((read.kid(), peek_kid(&tagged)), (kid, Ok(kid)));
    assert_eq!(read.verify(&key).unwrap(), b"payload");
}

/// From vectors.py.
#[test]
fn reply_bytes() {
    let key = Secret::new([1; 32]);
    let sealed = reply_seal(&key, b"aad", b"reply");
    assert_eq!(sealed.len(), 528);
    let sum: [u8; 32] = sha2::Sha256::digest(&sealed).into();
    assert_eq!(HEXLOWER.encode(&sum), "68b7e6b5905edc1d10908270f1f3dd27f01fe277de1c822c8f423a5d55677d86");
    assert_eq!(*reply_open(&key, b"aad", &sealed).unwrap(), b"reply");
    assert_eq!(reply_seal(&key, b"aad", b"reply"), sealed, "the same reply has the same bytes");
}

use sha2::Digest as _;

/// From vectors.py: 64 KiB, 2 passes, 1 lane; without and with a second factor.
#[test]
fn key_file_bytes() {
    let params = KeyFileParams { memory_kib: 64, passes: 2, lanes: 1 };
    let second = Secret::new([7; 32]);
    for (second, file) in [
        (
            None,
            "896f666c6f72696e2d6b65792d66696c650118400201f450000102030405060708090a0b0c0d0e0f4c101112131415161718191a1b5720481f807e4d29d8d3f5211a752a8ee0609c486ef36ae1",
        ),
        (
            Some(&second),
            "896f666c6f72696e2d6b65792d66696c650118400201f550000102030405060708090a0b0c0d0e0f4c101112131415161718191a1b579a4f30b73b2364ea3f99aa442942d69a4684e9122bbbba",
        ),
    ] {
        let mut rng = Fixed((0..28).collect());
        let sealed = seal_key_file(b"correct horse", second, b"content", params, &mut rng).unwrap();
        assert_eq!(HEXLOWER.encode(&sealed), file);
        assert_eq!(*open_key_file(&hex(file), b"correct horse", second).unwrap(), b"content");
    }
}
