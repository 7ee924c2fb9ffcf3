//! What every refusal says, on every rail: a stable slug, its kind, who must act, and whether the same bytes
//! may be sent again. Source: house rules 10-12, G9.

/// What kind of refusal it is; `florin-http` maps each to one status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The request cannot be read or trusted.
    BadRequest,
    /// The thing named does not exist.
    NotFound,
    /// It contradicts what is recorded.
    Conflict,
    /// Its time has passed.
    Gone,
    /// More bytes than the limit.
    TooLarge,
    /// Another content type is wanted.
    UnsupportedType,
    /// Another method is wanted.
    MethodNotAllowed,
    /// More requests than the budget allows.
    TooMany,
    /// Not decided yet: ask again later with the same bytes.
    NotYet,
    /// Understood, authentic, and not allowed.
    Denied,
    /// Cannot be served now.
    Unavailable,
    /// No room to record anything.
    StorageFull,
    /// A fault of the program; details only in its log.
    Fault,
    /// The request did not arrive in time.
    TooSlow,
    /// The request names another host.
    UnknownHost,
}

/// Who must act before it can succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Whoever sent the request.
    Asker,
    /// The payer.
    Payer,
    /// The payee.
    Payee,
    /// The operator.
    Operator,
    /// Nobody: waiting is enough.
    Nobody,
}

/// A refusal as it leaves the house: unsigned and unrecorded; nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stable name, a heading in docs/problems.md.
    pub slug: &'static str,
    /// Its kind.
    pub class: Class,
    /// Who must act.
    pub blame: Blame,
    /// Whether the same bytes may succeed later.
    pub transient: bool,
    /// A sentence for people; never holds anything that a third party must not see.
    pub detail: Option<String>,
    /// When to ask again.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal without detail.
    #[must_use]
    pub const fn new(slug: &'static str, class: Class, blame: Blame, transient: bool) -> Self {
        Self { slug, class, blame, transient, detail: None, retry_after_s: None }
    }

    /// Adds a sentence for people.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when the same bytes may be sent again.
    #[must_use]
    pub const fn after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}
