//! Model checks: small worlds whose every state is visited, with the real steps of the coin rail, the real books and the
//! real encodings; and an intruder who owns the network. Source: the issue ("Model checks"); docs/models.md; ADR 0035.

pub mod cast;
pub mod couriers;
pub mod fault;
pub mod house;
pub mod intruder;
pub mod operator;
pub mod payment;
pub mod purchase;
pub mod shelf;
