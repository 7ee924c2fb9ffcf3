//! Orders of both key holders, and what they open.

use florin_coin::kinds::HAND_OVER;
use florin_operator::control::{Action, SignedOrder};
use florin_operator::opened::{FollowRequest, open_boxes};
use florin_operator::trace::{Begun, TraceError, TraceReport};
use florin_operator::trace_log::Subject;
use florin_operator::{KeyHolder, Operator, two_holders};
use florin_parties::Roles;
use florin_shell::entropy::OsEntropy;

use super::{Bought, Town, split};

pub const REASON: &str = "order 12/26 of the court";
pub const MINUTE: u64 = 60_000;

pub fn order(operator: &Operator, subject: &Subject, reason: &str) -> SignedOrder {
    let (action, now) = (Action::Trace(subject.clone(), reason.to_owned()), operator.clock.now());
    SignedOrder::new(operator.id, action, now, MINUTE, &mut OsEntropy)
}

pub fn signed(order: &SignedOrder, by: &[&KeyHolder]) -> SignedOrder {
    let mut order = order.clone();
    by.iter().for_each(|holder| order.sign(holder).unwrap());
    order
}

pub async fn slug(operator: &Operator, order: &SignedOrder) -> &'static str {
    match operator.trace_begin(order).await {
        Err(TraceError::Refused(refusal)) => refusal.slug,
        Ok(_) => "taken",
        Err(error) => panic!("{error}"),
    }
}

pub fn opened(
    operator: &Operator,
    files: &[KeyHolder; 2],
    begun: (&SignedOrder, &Begun),
    recover: bool,
) -> FollowRequest {
    let known = two_holders(&operator.config.key_holder).unwrap();
    open_boxes(operator.id, &known, files, begun, recover)
}

pub async fn trace(
    operator: &Operator,
    files: &[KeyHolder; 2],
    subject: Subject,
    recover: bool,
) -> TraceReport {
    let order = signed(&order(operator, &subject, REASON), &[&files[0], &files[1]]);
    let begun = operator.trace_begin(&order).await.unwrap();
    operator.trace_follow(&opened(operator, files, (&order, &begun), recover)).await.unwrap()
}

pub async fn refused(operator: &Operator, request: &FollowRequest) -> &'static str {
    match operator.trace_follow(request).await {
        Err(TraceError::Refused(refusal)) => refusal.slug,
        Ok(_) => "followed",
        Err(error) => panic!("{error}"),
    }
}

/// Until so many claims of paid purchases wait for their hand-over.
pub async fn waits(operator: &Operator, n: usize) {
    for _ in 0..400 {
        let due = |lane: &florin_books::Lane| lane.outbox().filter(|o| o.kind == HAND_OVER).count();
        if operator.lanes.identity.books.view(due).unwrap() == n {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not {n} claims wait");
}

pub async fn with_a_purchase(town: &Town, anonymous: bool) -> Bought {
    let buyer = town.person(Roles::PURCHASER).await;
    town.order(&buyer, &split(188), anonymous).await
}
