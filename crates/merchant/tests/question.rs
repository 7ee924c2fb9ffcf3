//! What the gate does with a refusal: nobody signs one, so it ends no payment. Source: architecture.md, "Never unknown".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
#[path = "common/world.rs"]
mod world;

use std::time::Duration;

use florin_books::Clock;
use florin_coin::messages::Outcome;
use florin_merchant::Settlement;
use florin_merchant::kinds::ORDER;
use florin_merchant::order::{Order, OrderState};
use world::{Line, World, denied};

const OPEN: Settlement = Settlement::Open { retry_after_s: 2 };

fn order(world: &World) -> Order {
    let all = world.desk.house.books.scan(ORDER).unwrap();
    assert_eq!(all.len(), 1);
    Order::read(&all[0].1.value).unwrap()
}

#[tokio::test]
async fn a_refusal_ends_with_a_signed_never() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins.clone(), 1);
    world.operator.next(&[Line::Refuses]);
    let response = denied(world.settle("/paid/a", &payment).await);
    assert_eq!(response.error_reason.as_deref(), Some("florin_payment_denied"));
    let order_now = order(&world);
    let OrderState::Denied(told) = &order_now.state else { panic!("{order_now:?}") };
    let list = &world.operator.list;
    let verdict =
        florin_coin::ask::read_verdict(&told.verdict.0, list, order_now.pay_id(), &order_now.com).unwrap();
    assert_eq!((verdict.outcome, told.refused.as_deref()), (Outcome::Never, Some("payment-denied")));
    // What was refused arrives after all: it comes too late, and the coins pay for something else.
    let (to, body) = world.operator.delayed.lock().unwrap().remove(0);
    world.operator.answer(&to, &body).await.unwrap();
    assert_eq!(denied(world.settle("/paid/a", &payment).await), response, "it stays no");
    let (again, _) = world.payment("/paid/b", coins, 2);
    assert!(matches!(world.settle("/paid/b", &again).await, Settlement::Paid(_)));
    assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5));
    world.finish().await;
}

#[tokio::test]
async fn a_payment_that_was_paid_and_then_refused_on_the_way_is_paid() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    world.operator.next(&[Line::DoesAndRefuses]);
    assert!(matches!(world.settle("/paid/a", &payment).await, Settlement::Paid(_)));
    assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5));
    world.finish().await;
}

#[tokio::test]
async fn the_question_is_lost_refused_and_interrupted_and_has_one_end() {
    let lines = [Line::LosesRequest, Line::LosesAnswer, Line::GarblesAnswer, Line::Refuses];
    for first in [Line::Refuses, Line::DoesAndRefuses] {
        for question in lines.into_iter().chain([Line::DoesAndRefuses, Line::KeyIsGone]) {
            let world = World::new().await;
            let coins = world.operator.coins(&[5]).await;
            let (payment, _) = world.payment("/paid/a", coins.clone(), 1);
            world.operator.next(&[first, question, Line::LosesRequest]);
            assert_eq!(world.settle("/paid/a", &payment).await, OPEN, "{first:?} {question:?}");
            assert!(matches!(order(&world).state, OrderState::Open(_)));
            let world = world.crash();
            for _ in 0..3 {
                world.desk.resume(world.clock.now(), Duration::ZERO).await.unwrap();
            }
            let settled = world.settle("/paid/a", &payment).await;
            let paid = first == Line::DoesAndRefuses;
            assert_eq!(matches!(settled, Settlement::Paid(_)), paid, "{first:?} {question:?} {settled:?}");
            assert_eq!(world.purse(), if paid { 5 } else { 0 });
            if !paid {
                denied(settled);
                let (again, _) = world.payment("/paid/b", coins, 2);
                assert!(matches!(world.settle("/paid/b", &again).await, Settlement::Paid(_)));
            }
            assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5));
            world.finish().await;
        }
    }
}

#[tokio::test]
async fn a_question_that_came_too_late_is_asked_anew() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    world.operator.next(&[Line::Refuses, Line::LosesRequest]);
    assert_eq!(world.settle("/paid/a", &payment).await, OPEN);
    world.clock.forward(25 * 60 * 60 * 1000);
    let response = denied(world.settle("/paid/a", &payment).await);
    assert!(!response.success);
    world.finish().await;
}
