//! Parties: who takes part, with which keys, in which role. Pure: no clock, no files, no network.
//! Source: VarietyCash §2.2, §3 (Registration, Enrollment); G2-G12 of the rails; docs/rails/parties.md.
//!
//! Departs from the paper: it leaves both processes open, so the messages are ours.

pub mod asker;
pub mod bank;
pub mod confirmation;
pub mod directory;
pub mod enrolment;
pub mod enrolment_state;
pub mod epoch;
pub mod kinds;
pub mod name;
pub mod participant;
pub mod refusal;
pub mod registration;
pub mod sealed;
pub mod treasury;

pub use asker::{AskError, IdentityKeys, Prepared, ReadError};
pub use confirmation::{ConfirmOutcome, ConfirmStep};
pub use directory::{
    CurrencyTerms, DirectoryError, KeyId, KeyList, KeyUse, PublishedKey, SignedKeyList, Terms, key_id,
    network_id, operator_id, parse_network_id,
};
pub use enrolment::{CodeSent, EnrolStep};
pub use enrolment_state::{Confirmed, Enrolment, EnrolmentEvent, EnrolmentState, NotNow, Pending};
pub use epoch::PublishedEpoch;
pub use name::{NameError, ParticipantName};
pub use participant::{
    Certificate, CertificateError, Participant, ParticipantState, Roles, party_id, write_participant,
};
pub use registration::RegisterStep;
pub use sealed::{OperatorKeys, ReplyFrame};
pub use treasury::{OrderMove, OrderRecord, OrderState, Purpose};
