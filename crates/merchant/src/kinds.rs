//! The numbers of this crate in the gate's own books: documents and exchanges. Source: books.md, "The parts".

use florin_books::DocumentKind;

/// [`crate::order::Order`], by TID_PY.
pub const ORDER: DocumentKind = DocumentKind(0x0501);
/// The operator's certificate of this gate; one document.
pub const CERTIFICATE: DocumentKind = DocumentKind(0x0502);
/// [`crate::desk::Redeemer`]; one document.
pub const REDEEMER: DocumentKind = DocumentKind(0x0503);
/// [`crate::desk::PaidOut`], by exchange; of gathered value, by pay-out.
pub const PAID_OUT: DocumentKind = DocumentKind(0x0504);

/// Exchange: registration.
pub const REGISTER: u16 = 1;
/// Exchange: enrolment as redeemer.
pub const ENROL: u16 = 2;
/// Exchange: the code of an enrolment.
pub const CONFIRM: u16 = 3;
/// Exchange: ValidationReq.
pub const VALIDATION: u16 = 4;
/// Exchange: Issuance2.
pub const ACKNOWLEDGE: u16 = 5;
/// Exchange: Change or Refresh.
pub const CHANGE: u16 = 6;
/// Exchange: Redeem.
pub const REDEEM: u16 = 7;
/// Exchange: the question what became of a payment whose ValidationReq was refused.
pub const STATUS: u16 = 8;
/// Exchange: redemption of gathered value; one at a time.
pub const REDEEM_AGGREGATE: u16 = 20;
