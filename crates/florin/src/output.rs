//! What a command prints: a report for people, or the same as JSON. Source: the issue's `--json` on every command.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;

/// Where and how reports go.
#[derive(Clone, Copy)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Prints a report.
    pub fn report<T: Serialize + Display>(self, report: &T) {
        if self.json { self.value(report) } else { self.line(report) }
    }

    /// Prints a line for people; nothing with `--json`.
    pub fn text(self, text: impl Display) {
        if !self.json {
            self.line(text);
        }
    }

    /// Prints a value as one line of JSON.
    pub fn value<T: Serialize>(self, value: &T) {
        match serde_json::to_string(value) {
            Ok(text) => self.line(text),
            Err(error) => tracing::error!(%error, "a report cannot be written as JSON"),
        }
    }

    /// Text as it is; whether anybody still reads it.
    pub fn raw(self, text: &str) -> bool {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    /// A line at once: who reads our output through a pipe waits for it. A closed pipe is not our fault.
    pub fn line(self, text: impl Display) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Prints why a command failed.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            self.value(&serde_json::json!({"error": {
                "slug": failure.slug,
                "message": failure.message,
                "exit": failure.code.name(),
                "exit_code": failure.code.number(),
            }}));
        } else {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "florin: {} ({})", failure.message, failure.slug);
        }
    }
}
