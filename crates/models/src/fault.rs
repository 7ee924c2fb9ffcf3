//! What a model did not expect: nothing of it may ever happen, so a state that holds one is a counterexample.
//! Source: docs/models.md.

/// Why a world cannot be built, or a step went a way that none goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Fault {
    /// What a world is built from could not be made.
    #[error("the world cannot be built: {0}")]
    Setup(&'static str),
    /// A step refused what has to go through.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The books refused what a step had decided, as a fault of the program.
    #[error("the books refused: {0}")]
    Books(&'static str),
    /// An asking role could not make its message.
    #[error("a message could not be made: {0}")]
    Asking(&'static str),
    /// An answer that comes from the operator cannot be read.
    #[error("an answer cannot be read: {0}")]
    Reading(&'static str),
    /// Something that is named is not there.
    #[error("absent: {0}")]
    Absent(&'static str),
    /// After the faults had stopped, things still moved after many rounds.
    #[error("does not come to rest")]
    Restless,
}

impl From<florin_rail::Refusal> for Fault {
    fn from(refusal: florin_rail::Refusal) -> Self {
        Self::Refused(refusal.slug)
    }
}

impl From<florin_coin::AskError> for Fault {
    fn from(error: florin_coin::AskError) -> Self {
        Self::Asking(match error {
            florin_coin::AskError::BadKey => "a key that cannot be sealed to",
            florin_coin::AskError::Sum => "coins that do not add up",
        })
    }
}

impl From<florin_coin::ReadError> for Fault {
    fn from(error: florin_coin::ReadError) -> Self {
        use florin_coin::ReadError;
        Self::Reading(match error {
            ReadError::Pending => "what was kept",
            ReadError::Answer => "it does not open",
            ReadError::Statement => "the statement",
            ReadError::Coins => "the coins",
        })
    }
}
