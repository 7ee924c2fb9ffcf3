//! The operator: keys, two lanes, a bank, pages, background work; one program, one set of books.
//! Source: architecture.md, "Layout", "Conventions".

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use florin_bank::BankRail;
use florin_books::{Clock, DocumentKey, DocumentKind, LaneSpec, Needs, PartyId, Timestamp, Transition};
use florin_coin::issuer::{CoinModule, Issuer};
use florin_coin::{Calendar, Epochs};
use florin_crypto::{Entropy, MacKey, Secret, cbor, digest};
use florin_http::limits::RateLimit;
use florin_http::{Gauge, Limits, Registry, ServeCounters, Stop};
use florin_money::{Amount, Currency, CurrencyError};
use florin_parties::{KeyList, OperatorKeys};
use florin_shell::clock::{SteadyClock, SystemClock};
use florin_shell::exit::ExitCode;
use florin_shell::house::House;
use florin_shell::outbox;
use florin_shell::passphrase::Passphrase;
use florin_shell::service::{Bound, serve_until, watch_failure};
use florin_shell::vault::VaultError;
use florin_store::StoreError;
use tokio::sync::Notify;

use crate::admin::AdminToken;
use crate::bank::BankDesk;
use crate::calendar::Looks;
use crate::claim_keys::ClaimKeyFile;
use crate::config::{OperatorConfig, SettingError};
use crate::hand_over::{self, HandOverDesk};
use crate::key_holder::{HOLDERS, KeyHolderError, KnownHolder, escrow, two_holders};
use crate::keys::{KeysError, OperatorVaults, VaultPlaces, registers};
use crate::lanes::{BOOKS, BankCourier, BooksCourier, Crossing, IDENTITY, LaneCourier, Lanes, lane, spec};
use crate::module::{self, ModuleFault};
use crate::reconcile::Reconciler;

/// Why an operator cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The vaults.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The key module.
    #[error(transparent)]
    Module(#[from] ModuleFault),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The currency of the settings.
    #[error(transparent)]
    Currency(#[from] CurrencyError),
    /// Another setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The table of epochs cannot be read.
    #[error("the table of epochs is damaged")]
    Epochs,
    /// The key holders of the settings.
    #[error(transparent)]
    KeyHolder(#[from] KeyHolderError),
    /// A file of the state.
    #[error(transparent)]
    Home(#[from] florin_shell::home::HomeError),
}

impl OperatorError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Vault(e) | Self::Keys(KeysError::Vault(e)) => e.exit_code(),
            Self::Module(e) => e.exit_code(),
            Self::Store(e) => ExitCode::of_store(e),
            Self::Currency(_) | Self::Setting(_) | Self::Keys(KeysError::List(_)) => ExitCode::Configuration,
            Self::Epochs => ExitCode::BadData,
            Self::KeyHolder(e) => e.exit_code(),
            Self::Home(e) => e.exit_code(),
        }
    }
}

/// When the keys came into use.
pub(crate) const SINCE: DocumentKey = DocumentKey::new(DocumentKind(0x0302), [0; 16]);
/// The file in the state that says where a running operator listens.
pub const ADDRESS_FILE: &str = "listening";

/// An operator, open.
pub struct Operator {
    /// The folder of its state.
    pub state: PathBuf,
    /// Its settings.
    pub config: OperatorConfig,
    /// Its currency.
    pub currency: Currency,
    /// Its two lanes.
    pub lanes: Lanes,
    /// The keys of its messages.
    pub keys: Arc<OperatorKeys>,
    /// The issuer.
    pub issuer: Arc<Issuer>,
    /// ID_I.
    pub id: PartyId,
    /// Who together orders what nobody does alone, as the settings named them at the start.
    pub(crate) holders: [KnownHolder; HOLDERS],
    /// A pay-out of more waits for both key holders.
    pub release_above: Option<Amount>,
    /// How long epochs last.
    pub(crate) calendar: Calendar,
    /// Seals what is written down of epochs that are over.
    pub(crate) archive_key: Secret<32>,
    /// One change of the epochs at a time; what the calendar has seen so far.
    pub(crate) changing: tokio::sync::Mutex<Looks>,
    vaults: OperatorVaults,
    since: Timestamp,
    published: RwLock<Arc<Published>>,
    /// Its bank.
    pub bank: Arc<BankDesk>,
    /// Compares the books with the bank's statement.
    pub reconciler: Arc<Reconciler>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// By how much the machine's clock has stepped away from it, in seconds.
    pub(crate) clock_off: Arc<Gauge>,
    /// What it measures.
    pub registry: Arc<Registry>,
    /// What opens its admin pages.
    pub admin: AdminToken,
    /// Where its vaults and its high-water mark are.
    pub places: VaultPlaces,
    /// Held while something crosses from one lane into the other.
    pub crossing: Crossing,
    pub(crate) backup_key: MacKey,
}

/// The key list as it is published now.
pub struct Published {
    /// What it says.
    pub list: KeyList,
    /// As it was signed.
    pub signed: Vec<u8>,
}

/// Makes an operator's state: keys and empty books.
///
/// # Errors
/// [`OperatorError`]; `AlreadyThere` where there is one.
pub fn create(
    config: &OperatorConfig,
    places: &VaultPlaces,
    passphrase: &Passphrase,
    entropy: &mut dyn Entropy,
) -> Result<OperatorVaults, OperatorError> {
    let currency = config.money()?;
    let vaults = OperatorVaults::create(places, passphrase, entropy)?;
    config.module.create(&places.state)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registers = registers(currency);
    for (id, name) in [(IDENTITY, "identity"), (BOOKS, "books")] {
        let house = lane(&places.state, spec(id, &registers), &vaults.store_key(name)?, &clock, true)?;
        house.books.stop().map_err(|_| StoreError::Unknown)?;
    }
    AdminToken::create(&places.state)?;
    Ok(vaults)
}

impl Operator {
    /// Opens an operator's state: mends what a crash has left, then stands ready.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn open(
        config: OperatorConfig,
        places: &VaultPlaces,
        passphrase: &Passphrase,
        rail: Arc<dyn BankRail>,
    ) -> Result<Arc<Self>, OperatorError> {
        Self::open_with_clock(config, places, passphrase, rail, Arc::new(SteadyClock::default()))
    }

    /// The same with a clock of one's own.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn open_with_clock(
        config: OperatorConfig,
        places: &VaultPlaces,
        passphrase: &Passphrase,
        rail: Arc<dyn BankRail>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OperatorError> {
        let open = |spec, key: &Secret<32>| lane(&places.state, spec, key, &clock, false);
        Self::open_on(config, places, passphrase, rail, clock.clone(), &open)
    }

    /// The same with lanes of one's own, given what each is made for and the key that it is sealed with at rest.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn open_on(
        config: OperatorConfig,
        places: &VaultPlaces,
        passphrase: &Passphrase,
        rail: Arc<dyn BankRail>,
        clock: Arc<dyn Clock>,
        open: &dyn Fn(LaneSpec, &Secret<32>) -> Result<House, StoreError>,
    ) -> Result<Arc<Self>, OperatorError> {
        let vaults = OperatorVaults::open(places, passphrase)?;
        let (currency, release_above) = (config.money()?, config.release_above()?);
        let registers = registers(currency);
        let open = |id, name| -> Result<_, OperatorError> {
            Ok(open(spec(id, &registers), &vaults.store_key(name)?)?)
        };
        let (identity, books) = (open(IDENTITY, "identity")?, open(BOOKS, "books")?);
        let claim_keys = Arc::new(ClaimKeyFile::open(&places.state)?);
        let lanes = Lanes { identity, books, claim_keys };
        let backup_key = vaults.backup_key()?;
        let keys = Arc::new(vaults.message_keys()?);
        crate::retain::check_openings(&lanes, &keys)?;
        let module =
            config.module.open(&places.state, vaults.software_module(lanes.books.entropy.clone())?)?;
        let issuer = vaults.issuer(Arc::clone(&keys), registers, &config, module)?;
        let issuer = issuer.with_purchase_max(config.purchase_max());
        let holders = two_holders(&config.key_holder)?;
        let escrow = escrow(keys.id(), &holders);
        let issuer = Arc::new(issuer.with_claim_keys(lanes.claim_keys.clone()).with_escrow(escrow));
        let now = clock.now();
        let since = since(&lanes.identity, now)?;
        let calendar = Calendar::of(&config.terms());
        let epochs = open_epochs(&lanes.books, issuer.module(), calendar, now)?;
        let (list, signed) = vaults.publish(&config, currency, since, epochs.published(), now)?;
        issuer.set_epochs(Arc::new(epochs));
        let registry = Registry::new();
        let clock_off = registry.gauge(
            "florin_clock_step_seconds",
            "How far the machine's clock has stepped away from the time that the books go by, else 0.",
        );
        let desk = BankDesk::new(lanes.identity.clone(), Arc::clone(&rail), &config.bank.capital_reference);
        let bank = Arc::new(desk);
        let reconciler = Reconciler::new(lanes.identity.clone(), rail, &config.iban(), currency, &registry);
        let admin = AdminToken::read(&places.state)?;
        Ok(Arc::new(Self {
            state: places.state.clone(),
            config,
            currency,
            lanes,
            keys,
            issuer,
            id: list.operator,
            holders,
            release_above,
            calendar,
            archive_key: vaults.archive_key()?,
            changing: tokio::sync::Mutex::default(),
            vaults,
            since,
            published: RwLock::new(Arc::new(Published { list, signed })),
            bank,
            reconciler: Arc::new(reconciler),
            clock,
            clock_off,
            registry,
            admin,
            places: places.clone(),
            crossing: Crossing::default(),
            backup_key,
        }))
    }

    /// The key list as it is now.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs the key list anew, after the epochs have changed. Each list is later than the one before, so that nobody who
    /// has the newer one takes the older.
    pub(crate) fn republish(&self) -> Result<(), KeysError> {
        let now = self.clock.now().max(self.published().list.time.plus_ms(1));
        let epochs = self.issuer.epochs().published();
        let (list, signed) = self.vaults.publish(&self.config, self.currency, self.since, epochs, now)?;
        *self.published.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Published { list, signed });
        Ok(())
    }

    /// Whether it can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.lanes.identity.books.is_failed() && !self.lanes.books.books.is_failed()
    }

    /// Writes down where it listens, for commands beside a running operator: without it they wait for its lock. To be called
    /// before anybody is told that it serves.
    pub fn announce(&self, url: &str) {
        let file = self.state.join(ADDRESS_FILE);
        if let Err(error) = florin_shell::home::write_private(&file, url.as_bytes()) {
            tracing::warn!(%error, "where it listens is not written down");
        }
    }

    /// Serves until `stop`, with all background work; then closes the books.
    pub async fn run(self: Arc<Self>, bound: Bound, stop: Stop) -> ExitCode {
        let work = self.start_work(&stop);
        let limits = self.limits();
        let counters = ServeCounters::registered(&self.registry);
        let watch = |house: &florin_shell::house::House| {
            let (books, stop) = (house.books.clone(), stop.clone());
            tokio::spawn(async move { watch_failure(&books, &stop).await })
        };
        let watches = [watch(&self.lanes.identity), watch(&self.lanes.books)];
        serve_until(bound, crate::routes::router(&self), limits, counters, stop.clone()).await;
        stop.trigger();
        for task in work {
            // A task that panicked has left its work in the outbox, for the next start.
            let _ = task.await;
        }
        // Nobody listens any more; a file that stays is found out by asking.
        let _ = std::fs::remove_file(self.state.join(ADDRESS_FILE));
        crate::mark::write(&self);
        let mut code = ExitCode::Done;
        for watched in watches {
            if matches!(watched.await, Ok(ExitCode::Io) | Err(_)) {
                code = ExitCode::Io;
            }
        }
        for house in [&self.lanes.books, &self.lanes.identity] {
            if house.books.clone().stop().is_err() {
                code = ExitCode::Io;
            }
        }
        code
    }

    /// Starts all background work.
    pub fn start_work(self: &Arc<Self>, stop: &Stop) -> Vec<tokio::task::JoinHandle<()>> {
        let (reconciler, comparing) = (Arc::clone(&self.reconciler), stop.clone());
        let compare_every = self.config.reconcile_every_ms;
        let mut work = self.start_moving(stop);
        work.extend([
            tokio::spawn(async move {
                if compare_every > 0 {
                    reconciler.keep_comparing(Duration::from_millis(compare_every), &comparing).await;
                }
            }),
            tokio::spawn(crate::mark::keep(Arc::clone(self), stop.clone())),
            tokio::spawn(crate::retain::keep(Arc::clone(self), stop.clone())),
        ]);
        work
    }

    /// Starts what moves money and keys: the couriers, the bank's poller and the keeper of the epochs.
    pub fn start_moving(self: &Arc<Self>, stop: &Stop) -> Vec<tokio::task::JoinHandle<()>> {
        let every = Duration::from_millis(self.config.bank_poll_ms.max(10));
        let (bank, polling) = (Arc::clone(&self.bank), stop.clone());
        let orders = BankCourier { bank: Arc::clone(&self.bank) };
        let crossing = || Arc::clone(&self.crossing);
        let lanes = LaneCourier { books: self.lanes.books.clone(), crossing: crossing() };
        let (identity, release_above) = (self.lanes.identity.clone(), self.release_above);
        let books = BooksCourier { identity, release_above, crossing: crossing() };
        let (epochs, keeping) = (Arc::clone(self), stop.clone());
        vec![
            tokio::spawn(async move { epochs.keep_epochs(&keeping).await }),
            tokio::spawn(async move { bank.keep_polling(every, &polling).await }),
            self.hand_over(stop),
            courier(self.lanes.identity.clone(), lanes, stop),
            courier(self.lanes.identity.clone(), orders, stop),
            courier(self.lanes.books.clone(), books, stop),
        ]
    }

    /// Who hands claims over.
    #[must_use]
    pub fn hand_over_desk(&self) -> HandOverDesk {
        let (batch, wait_ms) = (self.config.claims_batch, self.config.claims_wait_ms);
        HandOverDesk::new(self.lanes.clone(), batch, wait_ms, Arc::clone(&self.crossing))
    }

    fn hand_over(&self, stop: &Stop) -> tokio::task::JoinHandle<()> {
        // Not before: of books that may not serve, nobody knows which keys are still needed.
        if let Err(error) = hand_over::make_ready(&self.lanes) {
            tracing::error!(%error, "claim keys cannot be written: purchases are refused");
        }
        let (desk, stop) = (self.hand_over_desk(), stop.clone());
        let called = Arc::new(Notify::new());
        let caller = Arc::clone(&called);
        self.lanes.identity.books.subscribe(move |_| caller.notify_one());
        tokio::spawn(async move { desk.run(&called, &stop).await })
    }

    fn limits(&self) -> Limits {
        let per_second = self.config.requests_per_second.max(1);
        Limits {
            loopback_exempt: self.config.loopback_exempt,
            request_rate: Some(RateLimit { per_second, burst: per_second.saturating_mul(2) }),
            ..Limits::default()
        }
    }
}

fn courier(
    house: florin_shell::house::House,
    courier: impl outbox::Courier + 'static,
    stop: &Stop,
) -> tokio::task::JoinHandle<()> {
    let called = Arc::new(Notify::new());
    let (caller, stop) = (Arc::clone(&called), stop.clone());
    house.books.subscribe(move |_| caller.notify_one());
    tokio::spawn(async move { outbox::run(house, &courier, &called, stop).await })
}

/// The table of epochs; a first one where there is none yet.
fn open_epochs(
    books: &florin_shell::house::House,
    module: &dyn CoinModule,
    calendar: Calendar,
    now: Timestamp,
) -> Result<Epochs, OperatorError> {
    let facts = books.books.load(&Needs { documents: vec![Epochs::KEY], ..Needs::default() })?;
    if let Some(bytes) = facts.document(&Epochs::KEY) {
        let epochs = Epochs::read(calendar, bytes).ok_or(OperatorError::Epochs)?;
        module::has_keys(module, &epochs)?;
        return Ok(epochs);
    }
    let out = books.books.view(|lane| lane.live().circulation().map(|c| c.epoch).collect::<Vec<_>>());
    let out = out.map_err(|_| StoreError::Unknown)?;
    let mut epochs = Epochs::begin(calendar, now, &out);
    // An epoch that has issued keeps the key that it has.
    if let Some(first) = epochs.issuing(now).filter(|first| !out.contains(first)) {
        module.prepare(first).map_err(ModuleFault::Module)?;
        epochs = epochs.with_key(first, module.proof_of(first).map_err(ModuleFault::Module)?);
    }
    let mut t = Transition::new(digest("florin/v1/operator/epochs", &[]), facts.as_of);
    t.write(Epochs::KEY, epochs.to_bytes());
    books.books.commit(t).map_err(|_| StoreError::Unknown)?;
    Ok(epochs)
}

/// When the keys came into use: kept in the books, so that the signed list says the same after every start.
fn since(identity: &florin_shell::house::House, now: Timestamp) -> Result<Timestamp, OperatorError> {
    let needs = Needs { documents: vec![SINCE], ..Needs::default() };
    let facts = identity.books.load(&needs)?;
    if let Some(since) = facts.document(&SINCE).and_then(|bytes| cbor::decode_strict(bytes).ok()) {
        return Ok(since);
    }
    let since = now.minus_ms(60_000);
    let mut t = Transition::new(digest("florin/v1/operator/since", &[]), facts.as_of);
    t.write(SINCE, cbor::encode(&since));
    identity.books.commit(t).map_err(|_| StoreError::Unknown)?;
    Ok(since)
}
