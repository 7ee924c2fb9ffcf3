//! The issuer: the role that answers. One file for each process of the paper.

mod acknowledge;
mod change;
mod collect;
mod frame;
mod keys;
mod payment;
mod payout;
mod post;
mod purchase;
mod redeem;
mod retention;
mod status;
mod verdict;
mod wrequest;

pub use acknowledge::AcknowledgeStep;
pub(crate) use acknowledge::issuance2_mac;
pub use change::ChangeStep;
pub use collect::{CollectAckStep, CollectStep};
pub use keys::{CoinModule, Issuer, IssuerSecrets, Lanes, SoftwareModule};
pub use payment::PaymentStep;
pub use payout::{PayOut, payout};
pub use post::{BOX_BYTES_MAX, BoxMessage, BoxOpen, BoxOpenStep, BoxPutStep, BoxTakeStep, Side, box_id};
pub use purchase::{HandOver, Purchase, PurchaseState, bank_outcome, hand_over};
pub use redeem::RedeemStep;
pub use retention::{RETAINED_KINDS, may_go};
pub(crate) use status::give_up_mac;
pub use status::{PayeeStatusStep, PayerStatusStep};
pub(crate) use verdict::{causes_digest, causes_salt, payer_frame};
pub use wrequest::{WRequest1Step, WRequest3Step};
