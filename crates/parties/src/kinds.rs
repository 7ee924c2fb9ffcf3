//! The numbers of this crate in the books: steps, documents, effects. Source: books.md, "The parts of the books".

use florin_books::DocumentKind;

/// The name in paths and labels.
pub const RAIL: &str = "parties";
/// The number in once keys.
pub const RAIL_NUMBER: u8 = 0;

/// Step `register`, in once keys.
pub const STEP_REGISTER: u8 = 1;
/// Step `enrol`, in once keys.
pub const STEP_ENROL: u8 = 2;
/// Step `confirm`, in once keys.
pub const STEP_CONFIRM: u8 = 3;
/// Taking over a participant into the books lane, in once keys.
pub const STEP_COPY: u8 = 4;
/// An event of the bank, in once keys.
pub const STEP_BANK_EVENT: u8 = 9;

/// [`crate::Participant`], by participant; in the identity lane and in the books lane.
pub const PARTICIPANT: DocumentKind = DocumentKind(0x0101);
/// The participant who has a name, by H(name); identity lane.
pub const NAME: DocumentKind = DocumentKind(0x0102);
/// [`crate::registration::Identity`], by participant; identity lane.
pub const IDENTITY: DocumentKind = DocumentKind(0x0103);
/// [`crate::Enrolment`], by participant; identity lane.
pub const ENROLMENT: DocumentKind = DocumentKind(0x0104);
/// [`crate::OrderRecord`], by order; the lane that pays.
pub const ORDER: DocumentKind = DocumentKind(0x0105);
/// [`crate::treasury::QueueItem`], by bank event; the lane that is paid.
pub const QUEUE: DocumentKind = DocumentKind(0x0106);

/// Effect: take [`crate::Participant`] over into the books lane.
pub const COPY_PARTICIPANT: u16 = 0x0101;
/// Effect: hand [`crate::bank::Order`] to the bank.
pub const SUBMIT_ORDER: u16 = 0x0102;
