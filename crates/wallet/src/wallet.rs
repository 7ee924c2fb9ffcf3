//! A wallet on disk: made once and pinned to its operator, opened by one process at a time.
//! Source: architecture.md, "Conventions"; G12 (the root key's fingerprint is shown and pinned at first use).
//!
//! The folder holds `keys.vault` (two secrets) and `books` (everything else, sealed under the first of them); the
//! second is the seed, from which the wallet's own keys are made.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use florin_books::{
    Clock, DocumentKey, DocumentKind, LaneId, LaneSpec, Needs, PartyId, Timestamp, Transition,
};
use florin_coin::IssuerKey;
use florin_crypto::{Bytes, Digest, Entropy, Zeroizing, cbor, digest, random};
use florin_money::{Amount, Currency, Denominations};
use florin_parties::{DirectoryError, IdentityKeys, KeyList, SignedKeyList, network_id};
use florin_shell::exchange::Exchange;
use florin_shell::house::House;
use florin_shell::vault::SECOND_FACTOR_FILE;
use florin_shell::{
    Passphrase, Progress, StorageOptions, SystemClock, Vault, VaultError, VaultNeeds, open_books,
};
use florin_store::{Books, StoreError};
use minicbor::{Decode, Encode};

use crate::documents::{CERTIFICATE, Note, OwnCertificate, SETTINGS, Settings, single};
use crate::net::{HttpNetwork, Network, PATIENCE};
use crate::refusal::WalletError;
use crate::seed::{RefundKeys, Seed};
use crate::telling::Telling;

/// The role, which names the usual folders.
pub const ROLE: &str = "wallet";
/// The folder of the books within the wallet's own.
pub const BOOKS_DIR: &str = "books";
/// The wallet's one lane.
const LANE: LaneId = LaneId(1);
pub(crate) const STORE_SECRET: &str = "store";
pub(crate) const SEED_SECRET: &str = "seed";
/// A key list older than this is asked for again when that costs nothing more.
const KEYS_OLD_MS: u64 = 24 * 60 * 60 * 1000;

/// How a wallet is opened.
pub struct OpenOptions<'a> {
    /// Its folder.
    pub dir: PathBuf,
    /// The folder of the second factor.
    pub keys_dir: Option<PathBuf>,
    /// The passphrase.
    pub passphrase: &'a Passphrase,
    /// How long one matter may take before it is reported as not known yet.
    pub patience: Duration,
    /// Whether the answer is JSON, so that nothing else is shown.
    pub json: bool,
    /// Whether the caller says by [`Wallet::told`] when its owner has seen the report. Until then the same command does
    /// not buy, redeem or pay again, also after a crash between the end of the matter and the report.
    pub tells: bool,
}

impl<'a> OpenOptions<'a> {
    /// The usual ones.
    #[must_use]
    pub fn new(dir: PathBuf, keys_dir: Option<PathBuf>, passphrase: &'a Passphrase) -> Self {
        Self { dir, keys_dir, passphrase, patience: PATIENCE, json: false, tells: false }
    }
}

/// An open wallet.
pub struct Wallet {
    pub(crate) house: House,
    pub(crate) identity: IdentityKeys,
    pub(crate) refund_keys: RefundKeys,
    pub(crate) net: Network,
    pub(crate) dir: PathBuf,
    pub(crate) patience: Duration,
    pub(crate) json: bool,
    pub(crate) tells: bool,
    pub(crate) telling: Mutex<Telling>,
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Held shared while coins are set aside, or a request for some is written down; alone while a refund looks whether any are,
    /// and is written down: it ends its holder's coins wherever they are.
    pub(crate) setting_aside: tokio::sync::RwLock<()>,
    operator: PartyId,
    keys: RwLock<Arc<KeyList>>,
}

/// What the wallet in a folder asks for before it opens.
///
/// # Errors
/// `NotThere`, or those of the vault.
pub fn needs(dir: &Path) -> Result<VaultNeeds, WalletError> {
    Vault::needs(dir).map_err(|error| not_there(dir, error))
}

fn not_there(dir: &Path, error: VaultError) -> WalletError {
    match error {
        VaultError::NotThere { .. } => WalletError::NotThere { dir: dir.to_owned() },
        other => WalletError::Vault(other),
    }
}

pub(crate) fn spec() -> LaneSpec {
    LaneSpec { lane: LANE, registers: Vec::new() }
}

/// Checks a key list against what is pinned.
pub(crate) fn verify_list(url: &str, bytes: &[u8], pinned: Option<PartyId>) -> Result<KeyList, WalletError> {
    SignedKeyList::verify(bytes, pinned).map_err(|error| match (error, pinned) {
        (DirectoryError::OperatorChanged, Some(id)) => {
            WalletError::OperatorChanged { url: url.to_owned(), pinned: network_id(id) }
        }
        (error, _) => WalletError::Directory(error),
    })
}

impl Wallet {
    /// Opens a wallet; another process that has it open is waited for, up to 10 s.
    ///
    /// # Errors
    /// `NotThere`; those of keys and books, `wallet-busy` among them.
    pub fn open(options: OpenOptions<'_>) -> Result<Self, WalletError> {
        let (seed, books) = open_parts(&options)?;
        let settings = read_settings(&books)?;
        let ca_file = settings.ca_file.as_ref().map(PathBuf::from);
        let network = HttpNetwork::new(&settings.url, ca_file.as_deref())?.network();
        Self::assemble(options, &seed, House::new(books), network)
    }

    /// The same over another network.
    ///
    /// # Errors
    /// As [`Wallet::open`].
    pub fn open_on(options: OpenOptions<'_>, network: Network) -> Result<Self, WalletError> {
        let (seed, books) = open_parts(&options)?;
        Self::assemble(options, &seed, House::new(books), network)
    }

    /// On books of one's own, that [`Wallet::begin_on`] has begun.
    ///
    /// # Errors
    /// `Store` where these are no books of a wallet, those of the key list.
    pub fn on_books(
        options: OpenOptions<'_>,
        seed: &Seed,
        house: House,
        network: Network,
    ) -> Result<Self, WalletError> {
        Self::assemble(options, seed, house, network)
    }

    /// With a clock of one's own.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.house.clock = clock;
        self
    }

    fn assemble(
        options: OpenOptions<'_>,
        seed: &Seed,
        house: House,
        net: Network,
    ) -> Result<Self, WalletError> {
        let settings = read_settings(&house.books)?;
        let list = verify_list(&settings.url, &settings.keys.0, Some(settings.operator))?;
        Ok(Self {
            house,
            identity: seed.identity(),
            refund_keys: seed.refund_keys(),
            net,
            dir: options.dir,
            patience: options.patience,
            json: options.json,
            tells: options.tells,
            telling: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
            setting_aside: tokio::sync::RwLock::new(()),
            operator: settings.operator,
            keys: RwLock::new(Arc::new(list)),
        })
    }

    /// Lets go of the wallet in good order. Dropping it is as a crash is: nothing is lost either.
    ///
    /// # Errors
    /// The books had failed.
    pub fn close(self) -> Result<(), WalletError> {
        self.house.books.stop().map_err(WalletError::Commit)
    }

    /// Its books: for who audits it from outside.
    #[must_use]
    pub const fn books(&self) -> &Books {
        &self.house.books
    }

    /// The wallet's own id, from its signing key.
    #[must_use]
    pub fn id(&self) -> PartyId {
        self.identity.id()
    }

    /// The operator that it is pinned to.
    #[must_use]
    pub const fn operator(&self) -> PartyId {
        self.operator
    }

    /// The operator's keys and terms, as they were checked last.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyList> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads an amount in one of the operator's currencies, such as `12.30 FLO`; without a code, in the first of them.
    ///
    /// # Errors
    /// `Amount`.
    pub fn amount(&self, text: &str) -> Result<Amount, WalletError> {
        let known: Vec<Currency> = self.keys().currencies.iter().map(|terms| terms.currency).collect();
        let text = text.trim();
        let whole = match known.first().filter(|_| !text.contains(' ')) {
            Some(currency) => format!("{text} {currency}"),
            None => text.to_owned(),
        };
        Amount::parse(&whole, &known).map_err(|why| WalletError::Amount { text: text.to_owned(), why })
    }

    /// The currency of a code.
    ///
    /// # Errors
    /// `Currency`.
    pub fn currency(&self, code: &str) -> Result<Currency, WalletError> {
        let keys = self.keys();
        let found = keys.currencies.iter().map(|terms| terms.currency).find(|c| c.code().as_str() == code);
        found.ok_or_else(|| WalletError::Currency { currency: code.to_owned() })
    }

    pub(crate) fn denominations(&self, currency: Currency) -> Result<Denominations, WalletError> {
        let unknown = || WalletError::Currency { currency: currency.to_string() };
        let keys = self.keys();
        let terms = keys.currency(currency).ok_or_else(unknown)?;
        Denominations::new(currency, terms.denominations.clone()).map_err(|_| unknown())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.house.clock.now()
    }

    pub(crate) fn entropy(&self) -> Box<dyn Entropy> {
        (self.house.entropy)()
    }

    pub(crate) fn draw<const N: usize>(&self) -> [u8; N] {
        random(&mut *self.entropy())
    }

    pub(crate) fn progress(&self, text: &str) -> Progress {
        Progress::start(text, self.json)
    }

    /// An empty change.
    pub(crate) fn fresh(&self, label: &str, parts: &[&[u8]]) -> Transition {
        Transition::new(digest(label, parts), self.house.books.durable())
    }

    pub(crate) fn settings(&self) -> Result<Settings, WalletError> {
        read_settings(&self.house.books)
    }

    pub(crate) fn document<T>(&self, key: DocumentKey) -> Result<Option<T>, WalletError>
    where
        T: for<'b> Decode<'b, ()> + Encode<()>,
    {
        read_document(&self.house.books, key)
    }

    /// All documents of a kind.
    pub(crate) fn documents<T>(&self, kind: DocumentKind, what: &'static str) -> Result<Vec<T>, WalletError>
    where
        T: for<'b> Decode<'b, ()> + Encode<()>,
    {
        let all = self.house.books.scan(kind)?;
        let read = all.iter().map(|(_, d)| cbor::decode_strict(&d.value));
        read.collect::<Result<_, _>>().map_err(|_| WalletError::Damaged { what })
    }

    /// Changes one document by what it says now.
    pub(crate) async fn change_document<T>(
        &self,
        key: DocumentKey,
        what: &'static str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<(), WalletError>
    where
        T: for<'b> Decode<'b, ()> + Encode<()>,
    {
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let drawn: [u8; 16] = self.draw();
        let cause: Digest = digest("florin/v1/wallet/change", &[what.as_bytes(), &drawn]);
        self.house
            .act(&needs, |facts, _| {
                let now = facts.document(&key).and_then(|bytes| cbor::decode_strict(bytes).ok());
                let mut t = Transition::new(cause, facts.as_of);
                t.write(key, cbor::encode(&change(now)?));
                Some(t)
            })
            .await?;
        Ok(())
    }

    /// The certificate; every party of a payment has one.
    pub(crate) fn certificate(&self) -> Result<OwnCertificate, WalletError> {
        self.document(single(CERTIFICATE))?.ok_or(WalletError::NotRegistered)
    }

    /// The key to seal to now; the list is asked for again where it has none or is old.
    pub(crate) async fn issuer(&self) -> Result<IssuerKey, WalletError> {
        let now = self.now();
        let list = self.keys();
        if now.since(list.time) > KEYS_OLD_MS || IssuerKey::of(&list, now).is_none() {
            // An old list that still has a key in use is good enough where the operator does not answer.
            match self.refresh_keys().await {
                Ok(()) | Err(WalletError::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        IssuerKey::of(&self.keys(), now).ok_or(WalletError::NoKey)
    }

    /// Asks the operator for its key list; the pinned operator alone may change it, and never back.
    pub(crate) async fn refresh_keys(&self) -> Result<(), WalletError> {
        let bytes = self.net.directory.fetch().await?;
        let url = self.settings()?.url;
        let list = verify_list(&url, &bytes, Some(self.operator))?;
        if list.time <= self.keys().time {
            return Ok(());
        }
        self.change_settings(|settings| settings.keys = Bytes(bytes.clone())).await?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        Ok(())
    }

    /// A request that is to be persisted.
    pub(crate) fn exchange(&self, to: &str, body: Vec<u8>, pending: Vec<u8>, note: &Note) -> Exchange {
        Exchange {
            id: florin_books::ExchangeId::new(self.draw()),
            kind: note.kind(),
            to: to.to_owned(),
            body,
            pending,
            reserved: Vec::new(),
            note: cbor::encode(note),
            since: self.now(),
            withdrawn: None,
        }
    }
}

/// The wallet's seed as text, to be written down: whoever has it has what `restore` gives.
///
/// # Errors
/// `NotThere`, those of the vault.
pub fn seed_text(options: &OpenOptions<'_>) -> Result<Zeroizing<String>, WalletError> {
    Ok(Seed::new(open_vault(options)?.secret(SEED_SECRET)?).to_text())
}

fn open_vault(options: &OpenOptions<'_>) -> Result<Vault, WalletError> {
    let second = options.keys_dir.as_ref().map(|dir| dir.join(SECOND_FACTOR_FILE));
    let vault = Vault::open(&options.dir, second.as_deref(), options.passphrase);
    vault.map_err(|e| not_there(&options.dir, e))
}

fn open_parts(options: &OpenOptions<'_>) -> Result<(Seed, Books), WalletError> {
    let dir = &options.dir;
    let vault = open_vault(options)?;
    let books_dir = dir.join(BOOKS_DIR);
    if !books_dir.exists() {
        return Err(WalletError::NotThere { dir: dir.clone() });
    }
    let seed = Seed::new(vault.secret(SEED_SECRET)?);
    let key = vault.secret(STORE_SECRET)?;
    let books = open_books(&books_dir, spec(), &key, Arc::new(SystemClock), &StorageOptions::default())?;
    Ok((seed, books))
}

fn read_document<T>(books: &Books, key: DocumentKey) -> Result<Option<T>, WalletError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let facts = books.load(&Needs { documents: vec![key], ..Needs::default() })?;
    let read = facts.document(&key).map(cbor::decode_strict).transpose();
    read.map_err(|_| WalletError::Damaged { what: "one of the wallet's own" })
}

fn read_settings(books: &Books) -> Result<Settings, WalletError> {
    let settings = read_document(books, single(SETTINGS))?;
    settings.ok_or(WalletError::Store(StoreError::Foreign {
        file: BOOKS_DIR.to_owned(),
        why: "these are not the books of a wallet",
    }))
}
