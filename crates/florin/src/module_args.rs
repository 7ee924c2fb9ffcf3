//! The key module on the command line: the same flags where an operator is made and where one is measured.
//! Source: ADR 0031.

use std::path::{Path, PathBuf};

use clap::Args;
use florin_operator::module::{ModuleMode, ModuleSettings};

/// Which key module tags the coins.
#[derive(Args, Clone)]
pub struct ModuleArgs {
    /// Where the tags of coins are made: software, in-token or derived-daily.
    #[arg(long, value_name = "MODE", default_value = "software", value_parser = mode)]
    module_mode: ModuleMode,
    /// The PKCS #11 library of a token.
    #[arg(long, value_name = "FILE")]
    module_library: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", default_value = "")]
    module_token: String,
    /// A file with the token's user PIN.
    #[arg(long, value_name = "FILE")]
    module_pin_file: Option<PathBuf>,
}

fn mode(text: &str) -> Result<ModuleMode, &'static str> {
    match text {
        "software" => Ok(ModuleMode::Software),
        "in-token" => Ok(ModuleMode::InToken),
        "derived-daily" => Ok(ModuleMode::DerivedDaily),
        _ => Err("software, in-token or derived-daily"),
    }
}

impl ModuleArgs {
    /// As settings; files by their full paths, since the operator may be started elsewhere.
    pub fn settings(self) -> ModuleSettings {
        let full = |path: Option<PathBuf>| {
            let path = path.unwrap_or_default();
            std::path::absolute(&path).unwrap_or(path)
        };
        ModuleSettings {
            mode: self.module_mode,
            library: full(self.module_library),
            token: self.module_token,
            pin_file: full(self.module_pin_file),
        }
    }

    /// The same flags, for another process.
    pub fn flags(&self) -> Vec<String> {
        let mode = match self.module_mode {
            ModuleMode::Software => return Vec::new(),
            ModuleMode::InToken => "in-token",
            ModuleMode::DerivedDaily => "derived-daily",
        };
        let path = |p: &Option<PathBuf>| p.as_deref().unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let named = [
            ("--module-mode", mode.to_owned()),
            ("--module-library", path(&self.module_library)),
            ("--module-token", self.module_token.clone()),
            ("--module-pin-file", path(&self.module_pin_file)),
        ];
        // A file that was not named is not named there either.
        let named = named.into_iter().filter(|(_, value)| !value.is_empty());
        named.flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}
