//! Who the owner is to the operator: registration under a chosen identity or a pseudonym, and enrolment of a bank account
//! for buying and redeeming. Source: VarietyCash §3 (Registration, Enrollment); docs/rails/parties.md.

use std::fmt;

use florin_books::TxId;
use florin_money::Amount;
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register, read_confirm, read_enrol};
use florin_parties::bank::BankAccount;
use florin_parties::{AskError, ConfirmOutcome, Prepared, Roles};
use florin_shell::exchange::{self, Exchange};
use serde::Serialize;

use crate::documents::{CERTIFICATE, ENROLMENT, Note, OwnCertificate, OwnEnrolment, single};
use crate::refusal::WalletError;
use crate::report::{optional_text, utc};
use crate::wallet::Wallet;

/// A request lasts at most so long.
const EXP_MS: u64 = 23 * 60 * 60 * 1000;

/// What `register` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RegisterReport {
    /// The wallet's id.
    pub id: String,
    /// The identity: a chosen one, or a pseudonym.
    pub name: String,
    /// Whether it was registered before.
    pub already: bool,
}

impl fmt::Display for RegisterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let already = if self.already { " already" } else { "" };
        writeln!(f, "registered{already} as {}", self.name)
    }
}

/// How far an enrolment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolState {
    /// No account.
    None,
    /// A code was sent to the account.
    CodeSent,
    /// The account is confirmed.
    Enrolled,
}

/// How an enrolment stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EnrolReport {
    /// How far.
    pub state: EnrolState,
    /// The account, with only its ends shown.
    pub account: Option<String>,
    /// What for: `purchaser`, `redeemer`.
    pub roles: Vec<&'static str>,
    /// Until when the code is good, in RFC 3339.
    pub code_until: Option<String>,
    /// How often it may still be tried.
    pub tries_left: Option<u8>,
    /// How much the transfer with the code carries, right after it was asked for.
    #[serde(serialize_with = "optional_text")]
    pub transfer: Option<Amount>,
}

impl fmt::Display for EnrolReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account.as_deref().unwrap_or_default();
        match self.state {
            EnrolState::None => writeln!(f, "no bank account is enrolled"),
            EnrolState::CodeSent => {
                let transfer =
                    self.transfer.map_or_else(|| "a transfer".to_owned(), |a| format!("a transfer of {a}"));
                writeln!(f, "{transfer} with a code is on its way to {account}")?;
                let until = self.code_until.as_deref().unwrap_or_default();
                writeln!(f, "then: florin wallet enrol --code CODE (until {until})")
            }
            EnrolState::Enrolled => writeln!(f, "enrolled with {account} as {}", self.roles.join(" and ")),
        }
    }
}

fn role_names(bits: u8) -> Vec<&'static str> {
    let roles = Roles::from_bits(bits).unwrap_or_default();
    let has = |role, name| roles.contains(role).then_some(name);
    [has(Roles::PURCHASER, "purchaser"), has(Roles::REDEEMER, "redeemer")].into_iter().flatten().collect()
}

fn masked(account: &str) -> String {
    account.parse::<BankAccount>().map_or_else(|_| String::new(), |account| account.masked())
}

impl OwnEnrolment {
    fn report(&self) -> EnrolReport {
        let none = EnrolReport {
            state: EnrolState::None,
            account: None,
            roles: Vec::new(),
            code_until: None,
            tries_left: None,
            transfer: None,
        };
        match (&self.awaits, &self.confirmed) {
            (Some(awaits), _) => EnrolReport {
                state: EnrolState::CodeSent,
                account: Some(masked(&awaits.account)),
                roles: role_names(awaits.roles),
                code_until: Some(utc(awaits.expires)),
                tries_left: Some(awaits.tries_left),
                transfer: None,
            },
            (None, Some(confirmed)) => EnrolReport {
                state: EnrolState::Enrolled,
                account: Some(masked(&confirmed.account)),
                roles: role_names(confirmed.roles),
                ..none
            },
            (None, None) => none,
        }
    }
}

impl Wallet {
    /// Registers, under a chosen identity or a pseudonym. The same command again is answered with the same certificate.
    ///
    /// # Errors
    /// `Input` (the name), `Refused` (`name-taken`, `already-registered`), `NotKnownYet`, those of the books.
    pub async fn register(&self, name: Option<&str>) -> Result<RegisterReport, WalletError> {
        if let Some(own) = self.document::<OwnCertificate>(single(CERTIFICATE))? {
            return Ok(self.registered(own, true));
        }
        let _progress = self.progress("registering");
        if let Some(x) = self.open_one(|note| matches!(note, Note::Register))? {
            // What was begun is ended first; a refused name makes room for another one.
            match self.settle(&x).await {
                Ok(_) => return Ok(self.registered(self.certificate()?, false)),
                Err(WalletError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.issuer().await?;
        let (now, keys) = (self.now(), self.keys());
        let tx = (TxId::new(self.draw()), now.plus_ms(EXP_MS));
        let prepared = prepare_register(&self.identity, name, &keys, tx, now, &mut *self.entropy());
        let prepared = prepared.map_err(|error| bad_input(name.unwrap_or_default(), error))?;
        self.carry_prepared(prepared, &Note::Register).await?;
        Ok(self.registered(self.certificate()?, false))
    }

    fn registered(&self, own: OwnCertificate, already: bool) -> RegisterReport {
        RegisterReport { id: self.id().to_string(), name: own.name, already }
    }

    /// Asks the operator to enrol a bank account for roles; it sends a small transfer with a code.
    ///
    /// # Errors
    /// `NotRegistered`, `Input`, `UnderWay`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn enrol(&self, account: &str, roles: Roles) -> Result<EnrolReport, WalletError> {
        self.certificate()?;
        let what = "a bank account: an IBAN, or payto://iban/...";
        let input = |_| WalletError::Input { text: account.to_owned(), what };
        let account: BankAccount = account.parse().map_err(input)?;
        let _progress = self.progress("enrolling the account");
        let begun = self.open_one(|note| matches!(note, Note::Enrol { .. } | Note::Confirm { .. }))?;
        if let Some(x) = begun {
            let same = matches!(Note::of(&x), Some(Note::Enrol { account: a, roles: r, .. })
                if a == account.to_string() && r == roles.bits());
            let sent = self.settle(&x).await;
            if same || !matches!(sent, Ok(_) | Err(WalletError::Refused { .. })) {
                return self.after_enrol(&x, sent?);
            }
        }
        self.issuer().await?;
        let (now, keys) = (self.now(), self.keys());
        let tx = (TxId::new(self.draw()), now.plus_ms(EXP_MS));
        let prepared = prepare_enrol(&self.identity, roles, &account, &keys, tx, now, &mut *self.entropy());
        let prepared = prepared.map_err(|error| bad_input(&account.to_string(), error))?;
        let before = self.own_enrolment()?.confirmed;
        let note = Note::Enrol { account: account.to_string(), roles: roles.bits(), before };
        let (x, answer) = self.carry_prepared(prepared, &note).await?;
        self.after_enrol(&x, answer)
    }

    fn after_enrol(&self, x: &Exchange, answer: Option<Vec<u8>>) -> Result<EnrolReport, WalletError> {
        let transfer = answer.and_then(|a| read_enrol(&x.pending, &a).ok()).map(|sent| sent.amount);
        Ok(EnrolReport { transfer, ..self.own_enrolment()?.report() })
    }

    /// Tells the operator the code that came with its transfer.
    ///
    /// # Errors
    /// `NotEnrolled` (no code is waited for), `Input`, `Code` (a wrong or late one), `Refused`, `NotKnownYet`.
    pub async fn confirm(&self, code: &str) -> Result<EnrolReport, WalletError> {
        self.certificate()?;
        let _progress = self.progress("confirming the account");
        if let Some(x) = self.open_one(|note| matches!(note, Note::Confirm { .. }))? {
            let answer = self.settle(&x).await?;
            // What was tried before may have been another code; only if it was the right one is there nothing to do.
            if let report @ EnrolReport { state: EnrolState::Enrolled, .. } = self.own_enrolment()?.report() {
                return Ok(report);
            }
            drop(answer);
        }
        let enrolment = self.own_enrolment()?;
        if enrolment.awaits.is_none() {
            return match enrolment.confirmed {
                Some(_) => Ok(enrolment.report()),
                None => Err(WalletError::NotEnrolled),
            };
        }
        self.issuer().await?;
        let (now, keys) = (self.now(), self.keys());
        let tx = (TxId::new(self.draw()), now.plus_ms(EXP_MS));
        let prepared = prepare_confirm(&self.identity, code, &keys, tx, now, &mut *self.entropy());
        let prepared = prepared.map_err(|error| bad_input(code, error))?;
        let (x, answer) = self.carry_prepared(prepared, &Note::Confirm { enrolment }).await?;
        let outcome = answer.and_then(|answer| read_confirm(&x.pending, &answer).ok());
        match outcome.and_then(|outcome: ConfirmOutcome| outcome.refusal()) {
            Some(refused) => {
                Err(WalletError::Code { cause: refused.refusal().slug, why: refused.to_string() })
            }
            None => Ok(self.own_enrolment()?.report()),
        }
    }

    /// How the enrolment stands.
    ///
    /// # Errors
    /// Those of the books.
    pub fn enrolment(&self) -> Result<EnrolReport, WalletError> {
        Ok(self.own_enrolment()?.report())
    }

    pub(crate) fn own_enrolment(&self) -> Result<OwnEnrolment, WalletError> {
        Ok(self.document(single(ENROLMENT))?.unwrap_or_default())
    }

    /// The account that is confirmed for a role.
    pub(crate) fn account_for(&self, role: Roles) -> Result<BankAccount, WalletError> {
        let confirmed = self.own_enrolment()?.confirmed.ok_or(WalletError::NotEnrolled)?;
        let fits = Roles::from_bits(confirmed.roles).is_some_and(|roles| roles.contains(role));
        if !fits {
            return Err(WalletError::NotEnrolled);
        }
        confirmed.account.parse().map_err(|_| WalletError::Damaged { what: "the enrolment" })
    }

    /// The first request under way of a kind.
    pub(crate) fn open_one(&self, wanted: impl Fn(&Note) -> bool) -> Result<Option<Exchange>, WalletError> {
        let open = exchange::under_way(&self.house)?;
        Ok(open.into_iter().find(|x| Note::of(x).is_some_and(|note| wanted(&note))))
    }

    async fn carry_prepared(
        &self,
        prepared: Prepared,
        note: &Note,
    ) -> Result<(Exchange, Option<Vec<u8>>), WalletError> {
        let x = self.exchange(&prepared.path, prepared.body, prepared.pending.to_vec(), note);
        let answer = self.carry(&x, self.fresh("florin/v1/wallet/begin", &[x.id.bytes()])).await?;
        Ok((x, answer))
    }
}

fn bad_input(text: &str, error: AskError) -> WalletError {
    let what = match error {
        AskError::Exp | AskError::NoKey | AskError::BadKey => return WalletError::NoKey,
        AskError::Name(_) => {
            "a name: 3 to 40 letters, digits, full stops and hyphens, beginning with a letter"
        }
        AskError::NoRole => "a role",
        AskError::Code => "a code: ten digits",
    };
    WalletError::Input { text: text.to_owned(), what }
}
