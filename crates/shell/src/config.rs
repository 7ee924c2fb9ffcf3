//! Configuration: file < environment < flags, each value with its source, each error with its place.
//! Source: architecture.md, "Conventions".
//!
//! A configuration is a type with a default, so that its keys are known: `listen.address` is a field of a field, and in
//! the environment `FLORIN_<ROLE>_LISTEN__ADDRESS`. A field whose default is an empty map, a list or nothing is set as a
//! whole. Every setting is applied by itself onto what came before, so that a failure is that setting's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::exit::ExitCode;

/// The largest configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// The program itself.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => f.write_str(variable),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{path} has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no TOML.
    #[error("{path}:{line}: {source}", source = .source.message())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        source: Box<toml::de::Error>,
    },
    /// There is no such setting.
    #[error("{at}: there is no setting {key}")]
    UnknownKey {
        /// Where it stands.
        at: Source,
        /// What it is called there.
        key: String,
    },
    /// There is no such variable, and a misspelt one must not go unnoticed.
    #[error("{variable} sets nothing: settings are called {prefix}KEY, with __ for a dot")]
    UnknownVariable {
        /// Its name.
        variable: String,
        /// What all of them begin with.
        prefix: String,
    },
    /// A variable is not text.
    #[error("{variable} is not UTF-8")]
    NotText {
        /// Its name.
        variable: String,
    },
    /// A value that the setting cannot have.
    #[error("{at}: {key}: {source}", source = .source.message())]
    BadValue {
        /// Where it stands.
        at: Source,
        /// The setting.
        key: String,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// The program's own default cannot be written as TOML: a fault of the program.
    #[error("the default configuration cannot be written: {source}")]
    Default {
        /// Why.
        source: toml::ser::Error,
    },
    /// The program's own default cannot be listed: a fault of the program.
    #[error("the default configuration cannot be listed: {source}")]
    NotListed {
        /// Why.
        source: serde_json::Error,
    },
}

impl ConfigError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::UnknownKey { at: Source::Flag, .. } | Self::BadValue { at: Source::Flag, .. } => {
                ExitCode::Usage
            }
            _ => ExitCode::Configuration,
        }
    }
}

/// A configuration, and where each value of it comes from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// The source of every value, by key.
    pub sources: BTreeMap<String, Source>,
}

impl<T: Serialize> Loaded<T> {
    /// Every value with its key and its source, for `config show`; what is not set reads `null`.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, serde_json::Value, Source)> {
        let whole = serde_json::to_value(&self.value).unwrap_or_default();
        let entry = |(key, source): (&String, &Source)| {
            let found = key.split('.').try_fold(&whole, |value, part| value.get(part));
            (key.clone(), found.cloned().unwrap_or_default(), source.clone())
        };
        self.sources.iter().map(entry).collect()
    }
}

/// Loads a configuration. `env_prefix` is as in `FLORIN_OPERATOR_`; `flags` has the shape of the file ([`set`]).
///
/// # Errors
/// [`ConfigError`], of the file first, then of the environment, then of the flags.
pub fn load<T>(file: Option<&Path>, env_prefix: &str, flags: Table) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    load_from(file, env_prefix, std::env::vars_os(), flags)
}

/// As [`load`], with the environment as an argument.
///
/// # Errors
/// As [`load`].
pub fn load_from<T>(
    file: Option<&Path>,
    env_prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    flags: Table,
) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    let default = T::default();
    let mut layers = Layers::of(&default)?;
    let mut value = default;
    if let Some(path) = file {
        layers.file(path, &mut value)?;
    }
    // Sorted, so that of two mistakes it is always the same that is told.
    let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
    for (variable, text) in &variables {
        layers.variable(env_prefix, variable, text, &mut value)?;
    }
    let mut units = Vec::new();
    layers.units(flags, "", &|_| Source::Flag, &mut units)?;
    for (key, setting) in units {
        layers.apply(&key, setting, Source::Flag, &mut value)?;
    }
    Ok(Loaded { value, sources: layers.sources })
}

/// Puts a value into a table at a dotted key, as flags are handed to [`load`]. What stands in its way is replaced.
pub fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value.into());
        return;
    };
    let below = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    if !below.is_table() {
        *below = Value::Table(Table::new());
    }
    if let Value::Table(below) = below {
        set(below, rest, value);
    }
}

/// What has been set so far.
struct Layers {
    merged: Table,
    /// Every key there is, with its default; `null` where it is not set.
    known: BTreeMap<String, serde_json::Value>,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    fn of<T: Serialize>(default: &T) -> Result<Self, ConfigError> {
        let merged = Table::try_from(default).map_err(|source| ConfigError::Default { source })?;
        let listed = serde_json::to_value(default).map_err(|source| ConfigError::NotListed { source })?;
        let mut known = BTreeMap::new();
        leaves(&listed, "", &mut known);
        let sources = known.keys().map(|key| (key.clone(), Source::Default)).collect();
        Ok(Self { merged, known, sources })
    }

    fn file<T: DeserializeOwned>(&mut self, path: &Path, value: &mut T) -> Result<(), ConfigError> {
        let text = read(path)?;
        let not_toml = |source: toml::de::Error| {
            let line = line_of(&text, source.span());
            ConfigError::NotToml { path: path.to_owned(), line, source: Box::new(source) }
        };
        let table: Table = toml::from_str(&text).map_err(not_toml)?;
        let places = places(&text);
        let at = |key: &str| {
            let line = places.get(key).copied().unwrap_or(1);
            Source::File { path: path.to_owned(), line }
        };
        let mut units = Vec::new();
        self.units(table, "", &at, &mut units)?;
        for (key, setting) in units {
            self.apply(&key, setting, at(&key), value).map_err(|error| nearer::<T>(error, &text))?;
        }
        Ok(())
    }

    fn variable<T: DeserializeOwned>(
        &mut self,
        prefix: &str,
        variable: &OsString,
        text: &OsString,
        value: &mut T,
    ) -> Result<(), ConfigError> {
        let name = variable.to_string_lossy();
        let Some(rest) = name.strip_prefix(prefix) else { return Ok(()) };
        let named = |key: &&String| key.to_uppercase().replace('-', "_").replace('.', "__") == rest;
        let variable = name.clone().into_owned();
        let Some(key) = self.known.keys().find(named).cloned() else {
            return Err(ConfigError::UnknownVariable { variable, prefix: prefix.to_owned() });
        };
        let Some(text) = text.to_str() else { return Err(ConfigError::NotText { variable }) };
        // Text where text fits, so that a version "1.0" stays one; else what TOML makes of it.
        let (as_text, as_toml) = (Value::String(text.to_owned()), text.parse::<Value>().ok());
        let is_text =
            matches!(self.known.get(&key), Some(serde_json::Value::String(_) | serde_json::Value::Null));
        let at = Source::Environment { variable };
        let (first, second) = match (is_text, as_toml) {
            (true, second) => (as_text, second),
            (false, Some(first)) => (first, Some(as_text)),
            (false, None) => (as_text, None),
        };
        match (self.apply(&key, first, at.clone(), value), second) {
            // What is wrong with the likelier reading is what helps.
            (Err(error), Some(second)) => self.apply(&key, second, at, value).map_err(|_| error),
            (tried, _) => tried,
        }
    }

    /// Splits a table into settings: it goes down as long as the default does.
    fn units(
        &self,
        table: Table,
        above: &str,
        at: &dyn Fn(&str) -> Source,
        units: &mut Vec<(String, Value)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = joined(above, &name);
            if self.known.contains_key(&key) {
                units.push((key, value));
                continue;
            }
            let below = format!("{key}.");
            let inner = self.known.keys().any(|known| known.starts_with(&below));
            match value {
                Value::Table(table) if inner => self.units(table, &key, at, units)?,
                // Something else than a table where a table belongs: applied, it fails with the right words.
                other if inner => units.push((key, other)),
                _ => return Err(ConfigError::UnknownKey { at: at(&key), key }),
            }
        }
        Ok(())
    }

    /// Applies one setting; if it cannot be, nothing has changed.
    fn apply<T: DeserializeOwned>(
        &mut self,
        key: &str,
        setting: Value,
        at: Source,
        value: &mut T,
    ) -> Result<(), ConfigError> {
        let mut merged = self.merged.clone();
        set(&mut merged, key, setting);
        match T::deserialize(Value::Table(merged.clone())) {
            Ok(next) => *value = next,
            Err(source) => {
                return Err(ConfigError::BadValue { at, key: key.to_owned(), source: Box::new(source) });
            }
        }
        self.merged = merged;
        self.sources.insert(key.to_owned(), at);
        Ok(())
    }
}

/// Every key of a default: objects are gone down into unless they are empty, which are maps.
fn leaves(value: &serde_json::Value, above: &str, known: &mut BTreeMap<String, serde_json::Value>) {
    match value {
        serde_json::Value::Object(fields) if !fields.is_empty() || above.is_empty() => {
            for (name, value) in fields {
                leaves(value, &joined(above, name), known);
            }
        }
        leaf => drop(known.insert(above.to_owned(), leaf.clone())),
    }
}

fn joined(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use io::Read as _;
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let limit = CONFIG_BYTES_MAX.saturating_add(1);
    let bytes = file.take(limit).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > CONFIG_BYTES_MAX) {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// The line, from 1, at which a span begins.
fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// The line of every key of the file.
fn places(text: &str) -> BTreeMap<String, usize> {
    fn walk(table: &toml::de::DeTable<'_>, above: &str, text: &str, places: &mut BTreeMap<String, usize>) {
        for (name, value) in table {
            let key = joined(above, name.get_ref());
            places.insert(key.clone(), line_of(text, Some(name.span())));
            if let toml::de::DeValue::Table(below) = value.get_ref() {
                walk(below, &key, text, places);
            }
        }
    }
    let mut places = BTreeMap::new();
    if let Ok(table) = toml::de::DeTable::parse(text) {
        walk(table.get_ref(), "", text, &mut places);
    }
    places
}

/// The exact line of what is wrong within a setting of many lines, where reading the file alone finds the same.
fn nearer<T: DeserializeOwned>(error: ConfigError, text: &str) -> ConfigError {
    match error {
        ConfigError::BadValue { at: Source::File { path, line }, key, source } => {
            let alone = toml::from_str::<T>(text).err();
            let alone =
                alone.filter(|alone| alone.message() == source.message()).and_then(|alone| alone.span());
            let line = alone.map_or(line, |span| line_of(text, Some(span)).max(line));
            ConfigError::BadValue { at: Source::File { path, line }, key, source }
        }
        other => other,
    }
}
