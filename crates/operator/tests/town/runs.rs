//! Five hundred mixed runs, and what really happened in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use florin_books::{PartyId, TxId};
use florin_coin::{PayId, payee};
use florin_crypto::{ByteArray, SigningKey, cbor, digest, random};
use florin_money::CoinList;
use florin_parties::Roles;
use florin_shell::entropy::OsEntropy;

use super::{Bought, Held, Person, Town, worth};

pub const WAVES: usize = 10;
pub const WAVE: usize = 16;
const PAYMENTS: usize = 260;
const CHANGES: usize = 50;
const REDEMPTIONS: usize = 30;

/// What really happened: which purchases each payment was made of.
#[derive(Default)]
pub struct Truth {
    pub bought: Vec<Bought>,
    pub payments: BTreeMap<PayId, BTreeSet<TxId>>,
    pub coin_ids: Vec<[u8; 16]>,
    pub buyers: BTreeSet<PartyId>,
}

impl Truth {
    /// Claim, K's secret, H(claim), the once key of the hand-over: everything that would join a purchase to its coins.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let of = |b: &Bought| {
            let (claim, k, _) = kept(b);
            let id = florin_crypto::digest("florin/v1/coin/claim", &[&claim]);
            let hand = digest("florin/v1/coin/hand-over", &[&claim, &k]);
            let cause = digest("florin/v1/coin/hand-over", &[&id.short()]);
            [claim.to_vec(), k.to_vec(), id.short().to_vec(), hand.short().to_vec(), cause.0.to_vec()]
        };
        self.bought.iter().flat_map(of).collect()
    }
}

pub fn kept(bought: &Bought) -> ([u8; 16], [u8; 32], CoinList) {
    let (claim, k, list): (ByteArray<16>, ByteArray<32>, CoinList) =
        cbor::decode_strict(&bought.kept).unwrap();
    (claim.0, k.0, list)
}

/// A number below `n`.
fn below(n: usize) -> usize {
    usize::try_from(u64::from_be_bytes(random(&mut OsEntropy)) % u64::try_from(n).unwrap()).unwrap()
}

fn draw(coins: &mut Vec<Held>, most: usize) -> Vec<Held> {
    let n = (1 + below(most)).min(coins.len());
    (0..n).map(|_| coins.swap_remove(below(coins.len()))).collect()
}

fn fullest(buyers: &mut [(Person, Vec<Held>)]) -> &mut Vec<Held> {
    &mut buyers.iter_mut().max_by_key(|(_, coins)| coins.len()).unwrap().1
}

/// 160 purchases, 260 payments (refresh, redeem or aggregate), 50 changes and refreshes, 30 redemptions; a refund by a
/// one-time key and a redemption of what was gathered in each wave, a rotation, and a backup of both stores in the middle.
pub async fn five_hundred_runs(town: &Town, backup: &Path) -> Truth {
    let mut truth = Truth::default();
    let mut buyers: Vec<(Person, Vec<Held>)> = Vec::new();
    for _ in 0..8 {
        buyers.push((town.person(Roles::PURCHASER).await, Vec::new()));
    }
    truth.buyers = buyers.iter().map(|(person, _)| person.keys.id()).collect();
    let mut shops = Vec::new();
    for _ in 0..3 {
        shops.push(town.person(Roles::REDEEMER).await);
    }
    let lists = [vec![100, 50, 20, 20, 10], vec![50, 20, 20, 5, 2, 2, 1]];
    let lists = lists.map(|values| CoinList::of_values(values).unwrap());
    let (mut paid, mut changed, mut redeemed) = (0, 0, 0);
    for wave in 0..WAVES {
        if wave == 5 {
            town.teller.closed.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        let orders = (0..WAVE).map(|n| {
            let (who, _) = &buyers[n % buyers.len()];
            town.order(who, &lists[usize::from(n % 4 == 3)], true)
        });
        let mut bought = Vec::new();
        for order in orders {
            bought.push(order.await);
        }
        if wave == 5 {
            // In the middle: these purchases are accepted and not decided.
            town.operator.lanes.identity.books.backup(&backup.join("identity")).unwrap();
            town.operator.lanes.books.books.backup(&backup.join("books")).unwrap();
            town.teller.closed.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        for (n, one) in bought.into_iter().enumerate() {
            let coins = if n == 3 {
                let key = SigningKey::generate(&mut OsEntropy);
                let first = town.collect_refundable(&one, &key).await;
                truth.coin_ids.extend(first.iter().map(|held| held.coin.id.0));
                town.refund(&key, &first[0].from).await
            } else {
                town.collect(&one).await
            };
            truth.coin_ids.extend(coins.iter().map(|held| held.coin.id.0));
            let at = n % buyers.len();
            buyers[at].1.extend(coins);
            truth.bought.push(one);
        }
        let last = wave + 1 == WAVES;
        while changed < (wave + 1) * CHANGES / WAVES {
            let coins = fullest(&mut buyers);
            let given = draw(coins, 3);
            let list = super::split(worth(&given));
            let new =
                if changed % 2 == 0 { town.change(&given, list).await } else { town.refresh(&given).await };
            truth.coin_ids.extend(new.iter().map(|held| held.coin.id.0));
            coins.extend(new);
            changed += 1;
        }
        while paid < (wave + 1) * PAYMENTS / WAVES {
            let coins = fullest(&mut buyers);
            let given = draw(coins, 3);
            let (total, shop) = (super::flo(worth(&given)), &shops[paid % 3]);
            let pay_id = match paid % 5 {
                1 => town.pay_as(shop, &given, payee::aggregate(total)).await,
                n => town.pay(shop, &given, n == 0).await,
            };
            truth.payments.insert(pay_id, given.iter().flat_map(|held| held.from.iter().copied()).collect());
            paid += 1;
        }
        while redeemed < (wave + 1) * REDEMPTIONS / WAVES {
            let coins = fullest(&mut buyers);
            let given = draw(coins, 2);
            town.redeem(&shops[redeemed % 3], &given).await;
            redeemed += 1;
        }
        town.redeem_gathered(&shops[wave % 3]).await;
        if wave == 6 {
            town.operator.rotate_epoch(None).await.unwrap();
        }
        assert!(!last || paid + changed + redeemed + truth.bought.len() == 500);
    }
    truth
}
