//! Programs of a town that end before the town does, in good order or by SIGKILL. Source: reliability.md R3, R7.

use std::path::Path;

use super::{Served, Shop, Town};
use crate::error::FaultsError;

impl Town {
    /// SIGKILL of the operator.
    pub fn kill_operator(&mut self) {
        self.operator = None;
    }

    /// The folder of the operator.
    #[must_use]
    pub fn operator_path(&self) -> &Path {
        self.operator_home.path()
    }
}

impl Shop {
    /// SIGKILL of the gate.
    pub fn kill(&mut self) {
        self.served = None;
    }

    /// Ends the gate in good order, and starts it again at the same place.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn restart(&mut self) -> Result<(), FaultsError> {
        self.served.take().map_or(Ok(None), Served::stop)?;
        self.start()
    }
}
