//! The contract that every rail implements: steps, decisions, refusals, labels. Pure.
//! Source: architecture.md, "The one flow"; rails/README.md, G1-G13.

pub mod common;
pub mod labels;
pub mod refusal;
mod step;

pub use labels::{Context, cause, cause_of, hpke_info, label, transcript};
pub use refusal::{Blame, Class, Refusal};
pub use step::{Decision, Moment, Step, StepName};
