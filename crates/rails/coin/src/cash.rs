//! Coins handed on without a payment: an envelope of text that whoever may open it takes to the issuer at once.
//! Source: VarietyCash §1.2 ("transferability of coins without any specific payment transaction"), §2.6 (bearer
//! instruments); G1, G2, G5. The forms and what each protects: docs/rails/coin.md, "Cash".

use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, Timestamp};
use florin_crypto::{
    ByteArray, Bytes, Entropy, Envelope, KeyFileError, KeyFileParams, Zeroizing, cbor, digest, kem,
    open_key_file, seal_key_file,
};
use florin_parties::{Certificate, IdentityKeys, KeyUse, key_id};
use florin_rail::{Context, hpke_info};
use minicbor::{Decode, Encode};

use crate::coin::{COINS_PER_PAYMENT_MAX, CoinSet};
use crate::kinds::RAIL;

/// What the text form begins with.
pub const CASH_PREFIX: &str = "florincash1";
/// What the text form of a certificate begins with.
pub const CARD_PREFIX: &str = "florincard1";
/// The most coins that are sent at once: so many fit one QR code in every form.
pub const CASH_COINS_MAX: usize = 24;
/// The longest memo, in bytes.
pub const MEMO_BYTES_MAX: usize = 100;
/// The longest text that is read.
const TEXT_BYTES_MAX: usize = 16 * 1024;
const MESSAGE: &str = "cash";

/// Why a text is not taken, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CashError {
    /// Not the text of such an envelope, or altered.
    #[error("this is no florin cash, or it was altered")]
    Malformed,
    /// Coins of another operator.
    #[error("these are coins of another operator")]
    OtherOperator,
    /// It takes a passphrase.
    #[error("this cash is sealed with a passphrase")]
    PassphraseNeeded,
    /// The passphrase is another one, or the text was altered.
    #[error("the passphrase is wrong, or the text was altered")]
    Passphrase,
    /// It is sealed to somebody else's key, or was altered.
    #[error("this cash is for somebody else, or it was altered")]
    OtherReceiver,
    /// The receiver's key cannot be sealed to.
    #[error("the receiver's key cannot be sealed to")]
    BadKey,
    /// Too many coins, none, or a memo that is too long or not of one line.
    #[error("too many coins, or the memo is too long")]
    TooMuch,
}

/// Coins on their way.
#[derive(Clone, PartialEq, Eq)]
pub struct Cash {
    /// Drawn by the sender: the name of this envelope.
    pub id: [u8; 16],
    /// The coins.
    pub coins: CoinSet,
    /// What the sender says with it. Nobody vouches for it.
    pub memo: String,
    /// When it was made, by the sender's clock.
    pub at: Timestamp,
}

/// For whom an envelope is.
pub enum CashSeal<'a> {
    /// For whoever has the text.
    Bearer,
    /// For whoever has the text and the passphrase.
    Passphrase(&'a [u8], KeyFileParams),
    /// For the owner of this certificate.
    Receiver(&'a Certificate),
}

/// How an envelope is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum CashForm {
    /// Not at all: a check against accidents only.
    #[n(0)]
    Bearer,
    /// Under a passphrase.
    #[n(1)]
    Passphrase,
    /// To a key.
    #[n(2)]
    Receiver,
}

/// What stands in the open.
///
/// Shape: `[form, ID_I, id, sealed]`. Source: docs/rails/coin.md, "Cash".
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SealedCash {
    /// How it is sealed.
    #[n(0)]
    pub form: CashForm,
    /// The issuer of the coins.
    #[n(1)]
    pub operator: PartyId,
    /// Its name.
    #[n(2)]
    pub id: ByteArray<16>,
    /// By form: `[content, check]`; a key file around content; an HPKE envelope around content.
    #[n(3)]
    sealed: Bytes,
}

/// Shape: `[context, ID_I, id, coins, memo, at]`. The context names the receiver, or nobody.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Content {
    #[n(0)]
    context: Context,
    #[n(1)]
    operator: PartyId,
    #[n(2)]
    id: ByteArray<16>,
    #[n(3)]
    coins: CoinSet,
    #[n(4)]
    memo: String,
    #[n(5)]
    at: Timestamp,
}

fn head(form: CashForm, operator: PartyId, id: [u8; 16]) -> Vec<u8> {
    cbor::encode(&(form, operator, ByteArray(id)))
}

fn check(head: &[u8], content: &[u8]) -> ByteArray<16> {
    ByteArray(digest("florin/v1/coin/cash", &[head, content]).short())
}

/// Whether a memo may be sent.
#[must_use]
pub fn is_memo(memo: &str) -> bool {
    memo.len() <= MEMO_BYTES_MAX && !memo.chars().any(char::is_control)
}

/// Seals coins of an operator; gives the text.
///
/// # Errors
/// `TooMuch`, `Passphrase` (costs out of bounds), `BadKey`.
pub fn seal(
    operator: PartyId,
    cash: &Cash,
    to: &CashSeal<'_>,
    entropy: &mut dyn Entropy,
) -> Result<String, CashError> {
    let count = cash.coins.coins.len();
    if count == 0 || count > CASH_COINS_MAX || !is_memo(&cash.memo) {
        return Err(CashError::TooMuch);
    }
    let (form, receiver) = match to {
        CashSeal::Bearer => (CashForm::Bearer, PartyId::NONE),
        CashSeal::Passphrase(..) => (CashForm::Passphrase, PartyId::NONE),
        CashSeal::Receiver(certificate) => (CashForm::Receiver, certificate.id),
    };
    let content = Zeroizing::new(cbor::encode(&Content {
        context: Context::new(RAIL, MESSAGE, PartyId::NONE, receiver),
        operator,
        id: ByteArray(cash.id),
        coins: cash.coins.clone(),
        memo: cash.memo.clone(),
        at: cash.at,
    }));
    let head = head(form, operator, cash.id);
    let sealed = match to {
        CashSeal::Bearer => cbor::encode(&(Bytes(content.to_vec()), check(&head, &content))),
        CashSeal::Passphrase(passphrase, params) => {
            seal_key_file(passphrase, None, &content, *params, entropy).map_err(|_| CashError::Passphrase)?
        }
        CashSeal::Receiver(certificate) => {
            let kid = key_id(KeyUse::Kem, &certificate.kem_key.0);
            let info = hpke_info(RAIL, MESSAGE, certificate.id, &kid);
            let sealed = kem::seal(&certificate.kem_key, &kid, &info, &head, &content, entropy);
            cbor::encode(&sealed.map_err(|_| CashError::BadKey)?.0)
        }
    };
    let whole = SealedCash { form, operator, id: ByteArray(cash.id), sealed: Bytes(sealed) };
    Ok(format!("{CASH_PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::encode(&whole))))
}

impl SealedCash {
    /// Reads the text form; spaces and line ends in it do not count.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(text: &str) -> Result<Self, CashError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(CashError::Malformed);
        }
        let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let body = text.strip_prefix(CASH_PREFIX).ok_or(CashError::Malformed)?;
        let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| CashError::Malformed)?;
        cbor::decode_strict(&bytes).map_err(|_| CashError::Malformed)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`CashError`], in its order.
    pub fn open(
        &self,
        operator: PartyId,
        me: &IdentityKeys,
        passphrase: Option<&[u8]>,
    ) -> Result<Cash, CashError> {
        if self.operator != operator {
            return Err(CashError::OtherOperator);
        }
        let head = head(self.form, self.operator, self.id.0);
        let (content, receiver) = match self.form {
            CashForm::Bearer => (self.open_bearer(&head)?, PartyId::NONE),
            CashForm::Passphrase => {
                let passphrase = passphrase.ok_or(CashError::PassphraseNeeded)?;
                let opened = open_key_file(&self.sealed.0, passphrase, None).map_err(|e| match e {
                    KeyFileError::WrongPassphraseOrDamaged => CashError::Passphrase,
                    _ => CashError::Malformed,
                })?;
                (opened, PartyId::NONE)
            }
            CashForm::Receiver => (self.open_mine(&head, me)?, me.id()),
        };
        let content: Content = cbor::decode_strict(&content).map_err(|_| CashError::Malformed)?;
        let count = content.coins.coins.len();
        let whole = content.context == Context::new(RAIL, MESSAGE, PartyId::NONE, receiver)
            && content.operator == self.operator
            && content.id == self.id
            && content.coins.adds_up()
            && (1..=COINS_PER_PAYMENT_MAX).contains(&count)
            && is_memo(&content.memo);
        if !whole {
            return Err(CashError::Malformed);
        }
        Ok(Cash { id: content.id.0, coins: content.coins, memo: content.memo, at: content.at })
    }

    fn open_bearer(&self, head: &[u8]) -> Result<Zeroizing<Vec<u8>>, CashError> {
        let (content, told): (Bytes, ByteArray<16>) =
            cbor::decode_strict(&self.sealed.0).map_err(|_| CashError::Malformed)?;
        let content = Zeroizing::new(content.0);
        if check(head, &content) == told { Ok(content) } else { Err(CashError::Malformed) }
    }

    fn open_mine(&self, head: &[u8], me: &IdentityKeys) -> Result<Zeroizing<Vec<u8>>, CashError> {
        let envelope: Envelope = cbor::decode_strict(&self.sealed.0).map_err(|_| CashError::Malformed)?;
        let kid = key_id(KeyUse::Kem, &me.kem.public_key().0);
        if envelope.kid != kid {
            return Err(CashError::OtherReceiver);
        }
        let info = hpke_info(RAIL, MESSAGE, me.id(), &kid);
        kem::open(&me.kem, &info, head, &envelope)
            .map(|(content, _)| content)
            .map_err(|_| CashError::OtherReceiver)
    }
}

/// The text form of a certificate, for whoever wants to send to its owner.
#[must_use]
pub fn card(certificate: &[u8]) -> String {
    format!("{CARD_PREFIX}{}", BASE64URL_NOPAD.encode(certificate))
}

/// The certificate in a card; it is not verified yet.
#[must_use]
pub fn read_card(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_whitespace().collect();
    BASE64URL_NOPAD.decode(text.strip_prefix(CARD_PREFIX)?.as_bytes()).ok()
}
