//! Price rules: which path and method costs how much. The first rule that matches decides.
//! Source: issue, slice 5; web.md §6.1 (rules per path and method). In doubt it costs: rules with a price match whatever
//! the case of letters and with path parameters cut off, free rules match only what is written.

use std::path::{Path, PathBuf};

use axum::http::Method;
use florin_money::{Amount, Currency, Denominations};
use serde::{Deserialize, Serialize};

use crate::path::{CleanPath, without_parameters};
use crate::settle::Settle;

/// The most rules of a file.
pub const RULES_MAX: usize = 1000;
/// The longest description, in characters.
pub const DESCRIPTION_MAX: usize = 200;
/// The largest rules file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is wrong with a rules file; rules are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot read the rules in {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More bytes than any rules need.
    #[error("the rules file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not TOML, or an unknown or missing field; the message names the line.
    #[error("the rules cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// More rules than allowed.
    #[error("there are more than {RULES_MAX} rules")]
    TooMany,
    /// Neither a price nor `free = true`, or both.
    #[error("rule {rule}: give either a price or free = true")]
    PriceOrFree {
        /// Which.
        rule: usize,
    },
    /// Not an amount of a currency of the operator.
    #[error("{}: {price:?} is not an amount of this operator: {why}", place(*rule))]
    Price {
        /// Which; 0 for the default price.
        rule: usize,
        /// What stands there.
        price: String,
        /// What is wrong with it.
        why: PriceFault,
    },
    /// Not a path pattern.
    #[error(
        "rule {rule}: {path:?} is not a path pattern: it begins with a slash, has no dot segments, and ** stands alone"
    )]
    Pattern {
        /// Which.
        rule: usize,
        /// What stands there.
        path: String,
    },
    /// Not a method that can have a rule.
    #[error("rule {rule}: {method:?} cannot have a rule (HEAD costs what GET costs, OPTIONS is free)")]
    Method {
        /// Which.
        rule: usize,
        /// What stands there.
        method: String,
    },
    /// What is free is not settled.
    #[error("rule {rule}: free = true has nothing to settle")]
    FreeSettle {
        /// Which.
        rule: usize,
    },
    /// A flow where nothing is paid.
    #[error("rule {rule}: what is free has no flow")]
    FreeFlow {
        /// Which.
        rule: usize,
    },
    /// A description is too long or has control characters.
    #[error("rule {rule}: a description has at most {DESCRIPTION_MAX} characters, in one line")]
    Description {
        /// Which.
        rule: usize,
    },
}

/// What is wrong with a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PriceFault {
    /// Not an amount.
    #[error(transparent)]
    Amount(florin_money::ParseAmountError),
    /// Nothing.
    #[error("zero is not a price; use free = true")]
    Zero,
    /// It takes more coins than a payment has.
    #[error("it cannot be paid with {max} coins")]
    NotPayable {
        /// The most coins of a payment.
        max: u64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    path: String,
    #[serde(default)]
    methods: Vec<String>,
    price: Option<String>,
    #[serde(default)]
    free: bool,
    settle: Option<Settle>,
    flow: Option<Flow>,
    description: Option<String>,
}

/// What comes first, the service or the money. Source: web.md §2.4.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// Settled, then the service: its answer streams, and is paid whatever it says.
    #[default]
    Upfront,
    /// Checked, then the service, then settled: its answer is held back until it is paid, and an error costs nothing.
    Authorization,
}

/// Which amounts can be a price: the operator's denominations and how many coins a payment has.
#[derive(Clone, Debug)]
pub struct Payable {
    denominations: Vec<Denominations>,
    coins_max: u64,
}

impl Payable {
    /// From the operator's terms.
    #[must_use]
    pub const fn new(denominations: Vec<Denominations>, coins_max: u64) -> Self {
        Self { denominations, coins_max }
    }

    /// Reads a price.
    ///
    /// # Errors
    /// [`PriceFault`], in its order.
    pub fn price(&self, text: &str) -> Result<Amount, PriceFault> {
        let known: Vec<Currency> = self.denominations.iter().map(Denominations::currency).collect();
        let amount = Amount::parse(text, &known).map_err(PriceFault::Amount)?;
        if amount.is_zero() {
            return Err(PriceFault::Zero);
        }
        let coins = self.denominations(amount.currency()).and_then(|d| d.split(amount).ok());
        if coins.is_none_or(|list| list.count() > self.coins_max) {
            return Err(PriceFault::NotPayable { max: self.coins_max });
        }
        Ok(amount)
    }

    /// The denominations of a currency.
    #[must_use]
    pub fn denominations(&self, currency: Currency) -> Option<&Denominations> {
        self.denominations.iter().find(|d| d.currency() == currency)
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pattern: Pattern,
    methods: Vec<Method>,
    /// The price; nothing if it is free.
    pub price: Option<Amount>,
    /// What becomes of the coins; nothing where the settings say so for all.
    pub settle: Option<Settle>,
    /// What comes first.
    pub flow: Flow,
    says_flow: bool,
    /// What people read.
    pub description: Option<String>,
}

impl Rule {
    /// The rule as it stands in an offer: methods and pattern, such as `GET /articles/*`, or `ANY /**`.
    #[must_use]
    pub fn label(&self) -> String {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let methods = if methods.is_empty() { "ANY".to_owned() } else { methods.join(",") };
        format!("{methods} {}", self.pattern.text)
    }

    fn matches(&self, method: &str, path: &CleanPath) -> bool {
        let method_fits =
            self.methods.is_empty() || self.methods.iter().any(|m| m.as_str().eq_ignore_ascii_case(method));
        if !method_fits {
            return false;
        }
        let exact: Vec<&[u8]> = path.segments().collect();
        if self.price.is_none() {
            return self.pattern.matches(&exact, false);
        }
        let bare: Vec<&[u8]> = path.segments().map(without_parameters).filter(|s| !s.is_empty()).collect();
        self.pattern.matches(&exact, true) || self.pattern.matches(&bare, true)
    }
}

/// All rules in their order, and what holds where none matches.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    otherwise: Rule,
}

fn place(rule: usize) -> String {
    if rule == 0 { "the price where no rule matches".to_owned() } else { format!("rule {rule}") }
}

impl Rules {
    /// Rules from the text of a file; `default` is the price where none matches, free if there is none.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn parse(text: &str, default: Option<&str>, payable: &Payable) -> Result<Self, RulesError> {
        let raw: RawRules = toml::from_str(text)?;
        if raw.rule.len() > RULES_MAX {
            return Err(RulesError::TooMany);
        }
        let numbered = (1_usize..).zip(raw.rule);
        let rules = numbered.map(|(n, rule)| read_rule(n, rule, payable)).collect::<Result<_, _>>()?;
        let price = default.map(|text| read_price(0, text, payable)).transpose()?;
        let pattern = Pattern { text: "/**".to_owned(), parts: vec![Part::Any] };
        let (methods, flow) = (Vec::new(), Flow::default());
        let otherwise =
            Rule { pattern, methods, price, settle: None, flow, says_flow: false, description: None };
        Ok(Self { rules, otherwise })
    }

    /// The same, settled so where a rule says nothing else.
    #[must_use]
    pub fn with_settle(mut self, default: Settle) -> Self {
        for rule in self.rules.iter_mut().chain(std::iter::once(&mut self.otherwise)) {
            rule.settle = rule.price.map(|_| rule.settle.unwrap_or(default));
        }
        self
    }

    /// The same with another flow where a rule does not say one.
    #[must_use]
    pub fn with_flow(mut self, flow: Flow) -> Self {
        for rule in self.rules.iter_mut().chain(std::iter::once(&mut self.otherwise)) {
            if !rule.says_flow {
                rule.flow = flow;
            }
        }
        self
    }

    /// Rules from a file.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn read(file: &Path, default: Option<&str>, payable: &Payable) -> Result<Self, RulesError> {
        let io = |source| RulesError::Io { file: file.to_owned(), source };
        if std::fs::metadata(file).map_err(io)?.len() > FILE_BYTES_MAX {
            return Err(RulesError::TooLarge);
        }
        Self::parse(&std::fs::read_to_string(file).map_err(io)?, default, payable)
    }

    /// The rule that holds for a request.
    #[must_use]
    pub fn rule(&self, method: &Method, path: &CleanPath) -> &Rule {
        let method = if method.as_str().eq_ignore_ascii_case("HEAD") { "GET" } else { method.as_str() };
        self.rules.iter().find(|rule| rule.matches(method, path)).unwrap_or(&self.otherwise)
    }

    /// Every rule in its order, the default last.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().chain(std::iter::once(&self.otherwise))
    }

    /// The rules as a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!(
            "{:>4}  {:<12} {:<9} {:<12} {:<32} {}\n",
            "rule", "price", "settle", "methods", "path", "description"
        );
        let last = self.rules.len();
        for (i, rule) in self.all().enumerate() {
            let label = rule.label();
            let (methods, path) = label.split_once(' ').unwrap_or(("", ""));
            let price = rule.price.map_or_else(|| "free".to_owned(), |price| price.to_string());
            let number = if i == last { "else".to_owned() } else { i.saturating_add(1).to_string() };
            let held = rule.price.is_some() && rule.flow == Flow::Authorization;
            let description = [held.then_some("(authorization)"), rule.description.as_deref()];
            let description = description.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let settle = rule.settle.map_or("", Settle::word);
            let line = format!("{number:>4}  {price:<12} {settle:<9} {methods:<12} {path:<32} {description}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn read_price(rule: usize, text: &str, payable: &Payable) -> Result<Amount, RulesError> {
    payable.price(text).map_err(|why| RulesError::Price { rule, price: text.to_owned(), why })
}

fn read_rule(rule: usize, raw: RawRule, payable: &Payable) -> Result<Rule, RulesError> {
    let price = match (&raw.price, raw.free) {
        (Some(text), false) => Some(read_price(rule, text, payable)?),
        (None, true) => None,
        (Some(_), true) | (None, false) => return Err(RulesError::PriceOrFree { rule }),
    };
    if price.is_none() && raw.flow.is_some() {
        return Err(RulesError::FreeFlow { rule });
    }
    let pattern = Pattern::parse(&raw.path).ok_or(RulesError::Pattern { rule, path: raw.path })?;
    let mut methods = Vec::with_capacity(raw.methods.len());
    for method in raw.methods {
        let parsed = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok();
        let usable =
            |m: &Method| ![Method::HEAD, Method::OPTIONS, Method::TRACE, Method::CONNECT].contains(m);
        methods.push(parsed.filter(usable).ok_or(RulesError::Method { rule, method })?);
    }
    let fits = |text: &String| text.chars().count() <= DESCRIPTION_MAX && !text.contains(char::is_control);
    if !raw.description.as_ref().is_none_or(fits) {
        return Err(RulesError::Description { rule });
    }
    if price.is_none() && raw.settle.is_some() {
        return Err(RulesError::FreeSettle { rule });
    }
    let (flow, says_flow) = (raw.flow.unwrap_or_default(), raw.flow.is_some());
    let settle = raw.settle;
    Ok(Rule { pattern, methods, price, settle, flow, says_flow, description: raw.description })
}

/// A path with `*` for any characters within a segment and `**` for any number of segments.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// `**`.
    Any,
    /// A segment with `*` in it, or none.
    Glob(Vec<u8>),
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let clean = CleanPath::parse(text).ok()?;
        let dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
        if dots || text.contains('?') || text.contains('#') {
            return None;
        }
        let mut parts = Vec::new();
        for segment in clean.segments() {
            if segment == b"**" {
                parts.push(Part::Any);
            } else if segment.windows(2).any(|two| two == b"**") {
                return None;
            } else {
                parts.push(Part::Glob(segment.to_vec()));
            }
        }
        Some(Self { text: text.to_owned(), parts })
    }

    /// One row for each part says which numbers of segments it may have taken up: no path makes this slow.
    fn matches(&self, path: &[&[u8]], fold: bool) -> bool {
        let mut reached: Vec<bool> = std::iter::once(true).chain(path.iter().map(|_| false)).collect();
        for part in &self.parts {
            reached = match part {
                Part::Any => {
                    let first = reached.iter().position(|here| *here).unwrap_or(usize::MAX);
                    (0..reached.len()).map(|i| i >= first).collect()
                }
                Part::Glob(glob) => {
                    let steps = reached
                        .iter()
                        .zip(path)
                        .map(|(before, segment)| *before && glob_fits(glob, segment, fold));
                    std::iter::once(false).chain(steps).collect()
                }
            };
        }
        reached.last().copied().unwrap_or(false)
    }
}

/// The usual two-place match: on a mismatch the last star takes one byte more.
fn glob_fits(glob: &[u8], text: &[u8], fold: bool) -> bool {
    let same = |a: &u8, b: &u8| if fold { a.eq_ignore_ascii_case(b) } else { a == b };
    let (mut g, mut t) = (glob, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (g.split_first(), t.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                retry = Some((rest, t));
                g = rest;
                continue;
            }
            (Some((a, g_rest)), Some((b, t_rest))) if same(a, b) => {
                (g, t) = (g_rest, t_rest);
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = retry else { return false };
        let Some((_, shorter)) = from.split_first() else { return false };
        retry = Some((after_star, shorter));
        (g, t) = (after_star, shorter);
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
