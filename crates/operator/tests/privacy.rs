//! V10: what lies at rest joins no purchase to a payment without the escrow keys. Everything the operator keeps after 500
//! mixed runs is read with the operator's own keys and searched; then the two key holders join all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    missing_docs
)]

mod town;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use florin_books::{Effect, PartyId, Record, Transition, TxId, seed_digest};
use florin_coin::issuer::{HandOverDue, Purchase};
use florin_coin::kinds::{self, HAND_OVER, PAY_OUT, SEALED_CLAIM, STEP_HAND_OVER};
use florin_crypto::{ByteArray, KemSecretKey, RestKey, Secret, cbor, digest};
use florin_money::CoinList;
use florin_operator::claim_keys::CLAIM_KEYS_FILE;
use florin_operator::control::{Action, SignedOrder};
use florin_operator::lanes::{self, BOOKS, IDENTITY};
use florin_operator::opened::open_boxes;
use florin_operator::trace::{Begun, TraceReport};
use florin_operator::trace_log::Subject;
use florin_operator::{KeyHolder, Operator, OperatorVaults, VaultPlaces, two_holders};
use florin_parties::Participant;
use florin_parties::kinds::{COPY_PARTICIPANT, STEP_COPY};
use florin_parties::registration::Identity;
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::Vault;
use town::log::{Log, log_everything};
use town::runs::{Truth, WAVE, WAVES, five_hundred_runs, kept};
use town::search::{bytes_of, files, found_in, journal, leaves, shared};
use town::{Bought, Town, holders, open};

/// What may stand in both lanes, and why.
fn allowed(identity: &[Record], books: &[Record], operator: &Operator) -> Vec<Vec<u8>> {
    let mut allowed = vec![
        // Nobody, and nothing: in every record that names no party, or has no seed, causes or terms.
        vec![0; 16],
        vec![0; 32],
        seed_digest(&[]).0.to_vec(),
        // Who the operator is and which of its keys signs: the same in everything it says.
        operator.published().list.operator.bytes().to_vec(),
    ];
    let keys: Vec<Vec<u8>> =
        operator.published().list.keys.iter().flat_map(|key| leaves(&cbor::encode(key))).collect();
    // A seed may be nothing but the name of the key that signed.
    allowed.extend(keys.iter().map(|leaf| cbor::encode(&florin_crypto::Bytes(leaf.clone()))));
    allowed.extend(keys);
    // Participants: the books lane knows everybody's keys, by the copy of a registration. Of a pay-out both lanes know the
    // redeemer and the amount. Neither names a purchase: that is checked apart.
    for effect in identity.iter().chain(books).flat_map(|record| &record.core.effects) {
        let Effect::Emit(out) = effect else { continue };
        if matches!(out.kind, COPY_PARTICIPANT | PAY_OUT) {
            allowed.push(out.id.bytes().to_vec());
            allowed.push(out.body.clone());
            allowed.extend(leaves(&out.body));
        }
    }
    let is_copy =
        |record: &&Record| record.core.once.iter().any(|key| key.rail == 0 && key.step == STEP_COPY);
    allowed.extend(books.iter().filter(is_copy).flat_map(|record| leaves(&cbor::encode(record))));
    allowed
}

/// Everything shared that no reason allows.
fn joins(identity: &[Record], books: &[Record], operator: &Operator) -> BTreeSet<Vec<u8>> {
    // A part of an allowed value is one: ids and keys are random bytes, which now and then read as CBOR themselves.
    let allowed: Vec<u8> = allowed(identity, books, operator).concat();
    let found = shared(identity, books);
    let explained = found_in(&found, &allowed);
    found.difference(&explained).cloned().collect()
}

/// The records that name a purchaser in the books lane are the copies of its registration, and nothing else.
fn assert_purchasers_are_unknown_to_coins(books: &[Record], truth: &Truth) {
    for buyer in &truth.buyers {
        let naming =
            books.iter().filter(|r| !found_in([&buyer.bytes().to_vec()], &cbor::encode(*r)).is_empty());
        for record in naming {
            assert!(record.core.once.iter().all(|key| key.step == STEP_COPY && key.rail == 0));
            assert!(record.core.created.is_empty() && record.core.consumed.is_empty());
        }
    }
}

/// The sealed claims of all times, that stand in the journal for ever, do not open with any key that is still there.
fn assert_sealed_claims_stay_closed(identity: &[Record], places: &VaultPlaces, open_ones: &BTreeSet<TxId>) {
    let file = std::fs::read(places.state.join(CLAIM_KEYS_FILE)).unwrap();
    let keys: Vec<RestKey> = file
        .chunks(512)
        .skip(1)
        .map(|sector| RestKey::new(&Secret::new(sector[..32].try_into().unwrap())))
        .collect();
    let mut seen = 0;
    for write in identity.iter().flat_map(|record| &record.core.documents) {
        let Some(value) = write.value.as_ref().filter(|_| write.key.kind == SEALED_CLAIM) else { continue };
        let purchase = TxId::new(write.key.id);
        let (_, sealed): (u32, florin_crypto::Bytes) = cbor::decode_strict(value).unwrap();
        let aad = cbor::encode(&("florin/v1/coin/sealed-claim", purchase));
        let opens = keys.iter().any(|key| key.open(&[0; 12], &aad, &sealed.0).is_ok());
        assert_eq!(opens, open_ones.contains(&purchase), "{purchase}");
        seen += 1;
    }
    assert!(seen >= WAVE * 5, "there were sealed claims to try: {seen}");
}

/// Whoever has all of the operator's own keys opens no box.
fn assert_escrow_is_closed(identity: &[Record], operator: &Operator, kem: &KemSecretKey) {
    let escrow = florin_operator::key_holder::escrow(
        operator.published().list.operator,
        &two_holders(&operator.config.key_holder).unwrap(),
    );
    let mut seen = 0;
    for write in identity.iter().flat_map(|record| &record.core.documents) {
        let Some(purchase) = write.value.as_deref().and_then(Purchase::read) else { continue };
        assert!(purchase.claim.is_none());
        assert!(escrow.open(kem, kem, purchase.id, purchase.escrow.as_ref().unwrap()).is_err());
        seen += 1;
    }
    assert!(seen >= WAVE * WAVES);
}

/// Who reads order and time as well: the purchases as the bank booked them against the claims as they went over, each list
/// apart. What order alone joins is what chance would.
fn joined_by_order(identity: &[Record], books: &[Record], truth: &Truth) -> usize {
    let claims: BTreeMap<[u8; 16], &Bought> = truth
        .bought
        .iter()
        .map(|b| (florin_crypto::digest("florin/v1/coin/claim", &[&kept(b).0]).short(), b))
        .collect();
    let lists: BTreeMap<TxId, &CoinList> = truth.bought.iter().map(|b| (b.id, &b.list)).collect();
    let due = identity.iter().flat_map(|record| &record.core.effects).filter_map(|effect| match effect {
        Effect::Emit(out) if out.kind == HAND_OVER => HandOverDue::read(out).map(|due| due.purchase),
        _ => None,
    });
    let is_hand =
        |record: &&Record| record.core.once.iter().any(|key| key.rail == 1 && key.step == STEP_HAND_OVER);
    let arrived = books.iter().filter(is_hand).map(|record| claims[&record.core.documents[0].key.id]);
    let (due, arrived): (Vec<TxId>, Vec<&Bought>) = (due.collect(), arrived.collect());
    assert_eq!((due.len(), arrived.len()), (WAVE * WAVES, WAVE * WAVES));
    let mut right = 0;
    for list in lists.values().copied().collect::<Vec<_>>().into_iter().fold(Vec::new(), |mut all, list| {
        if !all.contains(&list) {
            all.push(list);
        }
        all
    }) {
        let due = due.iter().filter(|id| lists[*id] == list);
        let arrived = arrived.iter().filter(|b| b.list == *list);
        right += due.zip(arrived).filter(|(id, b)| **id == b.id).count();
    }
    right
}

/// Who reads lane times to the millisecond: purchases whose own records share one with the hand-over of their claim. The one
/// that completes a batch can, where the disk is faster than the clock.
fn joined_by_time(identity: &[Record], books: &[Record], truth: &Truth) -> usize {
    let of_purchase = |bought: &&Bought| -> BTreeSet<u64> {
        let key = Purchase::key_of(bought.id);
        let its = identity.iter().filter(|record| record.core.documents.iter().any(|w| w.key == key));
        its.map(|record| record.core.time.0).collect()
    };
    let of_claim = |bought: &&Bought| -> BTreeSet<u64> {
        let id = florin_crypto::digest("florin/v1/coin/claim", &[&kept(bought).0]).short();
        let its = books.iter().filter(|record| record.core.documents.iter().any(|w| w.key.id == id));
        its.map(|record| record.core.time.0).collect()
    };
    truth.bought.iter().filter(|b| !of_purchase(b).is_disjoint(&of_claim(b))).count()
}

/// Claims went over only in company, and were settled all at once.
fn assert_batches(identity: &[Record]) {
    let handed: BTreeSet<Vec<u8>> = identity
        .iter()
        .flat_map(|record| &record.core.effects)
        .filter_map(|effect| match effect {
            Effect::Emit(out) if out.kind == HAND_OVER => Some(out.id.bytes().to_vec()),
            _ => None,
        })
        .collect();
    for record in identity {
        let done = record.core.effects.iter().filter(|effect| match effect {
            Effect::Done(id) => handed.contains(id.bytes().as_slice()),
            Effect::Emit(_) => false,
        });
        let n = done.count();
        assert!(n == 0 || n >= WAVE, "{n} went over together");
    }
}

/// Whoever registers without a name has none here: what stands for it is made from the id.
fn assert_pseudonyms(identity: &[Record]) {
    let writes = identity.iter().flat_map(|record| &record.core.documents);
    let named: Vec<Identity> = writes
        .filter(|w| w.key == Identity::key_of(PartyId::new(w.key.id)))
        .filter_map(|w| w.value.as_deref().and_then(Identity::read))
        .collect();
    assert!(named.len() >= 11 && named.iter().all(|identity| identity.name.is_none()));
}

fn log_forms(value: &[u8]) -> [Vec<u8>; 3] {
    [HEXLOWER.encode(value), BASE64.encode(value), BASE64URL_NOPAD.encode(value)].map(String::into_bytes)
}

/// Nothing that joins stands in any file as it is, nor in the log in any form.
fn assert_files_and_log(dir: &Path, log: &Log, truth: &Truth) {
    let mut secrets = truth.secrets();
    secrets.extend(truth.coin_ids.iter().map(|id| id.to_vec()));
    secrets.extend(truth.payments.keys().map(|id| id.bytes().to_vec()));
    for file in files(dir).into_iter().filter(|file| !file.components().any(|c| c.as_os_str() == "holders")) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(found_in(&secrets, &bytes).is_empty(), "{}", file.display());
    }
    let log = log.bytes();
    assert!(log.len() > 10_000, "the log was taken down: {} bytes", log.len());
    let purchases = truth.bought.iter().map(|b| b.id.bytes().to_vec());
    let mut forms: Vec<Vec<u8>> =
        secrets.iter().cloned().chain(purchases).flat_map(|s| log_forms(&s)).collect();
    forms.extend(truth.bought.iter().map(|b| b.id.to_string().into_bytes()));
    forms.extend(truth.payments.keys().map(|id| id.to_string().into_bytes()));
    forms.extend(secrets);
    assert!(found_in(&forms, &log).is_empty(), "the log names a purchase, a claim, a coin or a payment");
}

fn order_of(operator: &Operator, files: &[&KeyHolder], subject: Subject, reason: &str) -> SignedOrder {
    let (action, now) = (Action::Trace(subject, reason.to_owned()), operator.clock.now());
    let mut order = SignedOrder::new(operator.id, action, now, 60_000, &mut OsEntropy);
    files.iter().for_each(|file| order.sign(file).unwrap());
    order
}

async fn trace(operator: &Operator, files: &[KeyHolder; 2], subject: Subject) -> (Begun, TraceReport) {
    let request = order_of(operator, &[&files[0], &files[1]], subject, "order 12/26 of the court");
    let begun = operator.trace_begin(&request).await.unwrap();
    let known = two_holders(&operator.config.key_holder).unwrap();
    let follow = open_boxes(operator.id, &known, files, (&request, &begun), false);
    let report = operator.trace_follow(&follow).await.unwrap();
    (begun, report)
}

/// The counter-test: both holders together join every purchase to its payments, and payments to their purchases.
async fn assert_holders_join_everything(operator: &Operator, places: &VaultPlaces, truth: &Truth) {
    let files = holders(places);
    for bought in &truth.bought {
        let (begun, report) = trace(operator, &files, Subject::Purchase(bought.id)).await;
        assert_eq!(begun.boxes.len(), 1);
        let paid = report.trail.steps.iter().filter(|step| step.what == "paid");
        let found: BTreeSet<String> = paid.filter_map(|step| step.reference.clone()).collect();
        let expected = truth.payments.iter().filter(|(_, from)| from.contains(&bought.id));
        let expected: BTreeSet<String> = expected.map(|(id, _)| id.to_string()).collect();
        assert_eq!(found, expected, "{}", bought.id);
        assert_eq!(report.purchases[0].purchase, bought.id.to_string());
    }
    for (payment, from) in truth.payments.iter().step_by(80) {
        let (begun, report) = trace(operator, &files, Subject::Payment(*payment)).await;
        let found: BTreeSet<String> = report.purchases.iter().map(|p| p.purchase.clone()).collect();
        assert_eq!(found, from.iter().map(TxId::to_string).collect(), "{payment}");
        assert_eq!(report.boxes, u64::try_from(begun.boxes.len()).unwrap());
    }
    let coin = Subject::Coin(ByteArray(truth.coin_ids[0]));
    let (_, report) = trace(operator, &files, coin).await;
    assert_eq!(report.purchases.len(), 1);
    let log = operator.trace_log().unwrap();
    assert!(log.findings.is_empty(), "{:?}", log.findings);
    assert_eq!(log.boxes, log.entries.iter().map(|entry| entry.boxes).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v10_what_is_at_rest_joins_no_purchase_to_a_payment_without_both_key_holders() {
    let log = log_everything();
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup");
    let town = Town::start(dir.path(), WAVE, 120_000).await;
    let truth = five_hundred_runs(&town, &backup).await;
    let (places, config, teller) = town.end().await;

    let operator = open(&places, &config, &teller);
    let vaults = OperatorVaults::open(&places, &Passphrase::none()).unwrap();
    let identity = journal(&operator.lanes.identity.books);
    let books = journal(&operator.lanes.books.books);
    // Both copies, and what is folded, say the same as the journal that is searched.
    assert!(operator.lanes.identity.books.audit().unwrap().findings.is_empty());
    assert!(operator.lanes.books.books.audit().unwrap().findings.is_empty());
    let found = joins(&identity, &books, &operator);
    assert!(found.is_empty(), "{:#?}", found.iter().map(|v| HEXLOWER.encode(v)).collect::<Vec<_>>());
    assert_purchasers_are_unknown_to_coins(&books, &truth);

    // Derived values: what the identity side has of the coin side, and the other way round.
    let numbers = books.iter().flat_map(|record| record.core.created.iter().flat_map(|i| i.numbers()));
    let numbers: Vec<_> = numbers.collect();
    let mut coin_side = truth.secrets();
    coin_side.extend(numbers.iter().map(|number| number.to_block().to_vec()));
    coin_side.extend(numbers.iter().map(|number| operator.issuer.coin_id(*number).to_vec()));
    assert!(truth.coin_ids.iter().all(|id| operator.issuer.coin_number(*id).is_some()));
    assert!(found_in(&coin_side, &bytes_of(&identity)).is_empty());
    let purchases: Vec<Vec<u8>> = identity_values_of_purchases(&identity);
    assert!(purchases.len() > WAVE * WAVES * 5, "{}", purchases.len());
    let found = found_in(&purchases, &bytes_of(&books));
    assert!(found.is_empty(), "{:#?}", found.iter().map(|v| HEXLOWER.encode(v)).collect::<Vec<_>>());

    assert_sealed_claims_stay_closed(&identity, &places, &BTreeSet::new());
    let vault = Vault::open(&places.state, places.second.as_deref(), &Passphrase::none()).unwrap();
    let kem = KemSecretKey::from_seed(&vault.secret("kem").unwrap());
    assert_escrow_is_closed(&identity, &operator, &kem);
    assert_pseudonyms(&identity);
    assert_batches(&identity);
    let right = joined_by_order(&identity, &books, &truth);
    eprintln!("joined by order alone: {right} of {}", WAVE * WAVES);
    assert!(right * 3 < WAVE * WAVES, "{right} purchases are joined by order alone");
    let right = joined_by_time(&identity, &books, &truth);
    assert!(right <= WAVES, "{right} purchases are joined by their exact time");
    assert_files_and_log(dir.path(), &log, &truth);
    assert_backup_is_closed(&backup, &vaults, &operator, &places);

    // The search finds what it is there to find: a claim in the clear, as a document or only in a seed.
    let mut leaked = identity.clone();
    let claim = kept(&truth.bought[7]).0;
    let id = florin_crypto::digest("florin/v1/coin/claim", &[&claim]).short();
    leaked[40].seed = Some(cbor::encode(&(7, florin_crypto::Bytes(cbor::encode(&ByteArray(id))))));
    assert!(joins(&leaked, &books, &operator).contains(id.as_slice()));
    let mut t = Transition::new(digest("test/leak", &[]), operator.lanes.identity.books.durable());
    t.write(Purchase::key_of(town::txid()), cbor::encode(&ByteArray(claim)));
    operator.lanes.identity.books.commit(t).unwrap();
    let leaked = journal(&operator.lanes.identity.books);
    assert!(!found_in(&truth.secrets(), &bytes_of(&leaked)).is_empty());

    assert_holders_join_everything(&operator, &places, &truth).await;
}

/// All that the identity lane knows of purchases: ids, orders, mandates, authorisations, transcripts, escrow boxes.
fn identity_values_of_purchases(identity: &[Record]) -> Vec<Vec<u8>> {
    let writes = identity.iter().flat_map(|record| &record.core.documents);
    let of = writes.filter(|w| matches!(w.key.kind, kinds::PURCHASE | SEALED_CLAIM));
    let mut values = BTreeSet::new();
    for write in of {
        values.insert(write.key.id.to_vec());
        values.extend(write.value.as_deref().map(leaves).unwrap_or_default());
    }
    // Who a purchaser is, and which key signs, the books lane knows by the copy of a registration; looked at apart.
    let writes = identity.iter().flat_map(|record| &record.core.documents);
    let known: Vec<u8> = writes
        .filter(|w| w.key == Participant::key_of(PartyId::new(w.key.id)))
        .flat_map(|w| w.key.id.iter().copied().chain(w.value.clone().unwrap_or_default()))
        .collect();
    let elsewhere = found_in(&values, &known);
    values.difference(&elsewhere).filter(|v| v.iter().any(|b| *b != 0)).cloned().collect()
}

/// A backup made in the middle, while purchases waited: its sealed claims do not open any more either.
fn assert_backup_is_closed(
    backup: &Path,
    vaults: &OperatorVaults,
    operator: &Operator,
    places: &VaultPlaces,
) {
    let registers = florin_operator::keys::registers(operator.currency);
    let clock: Arc<dyn florin_books::Clock> = Arc::new(SystemClock);
    let open = |id, name| {
        let key = vaults.store_key(name).unwrap();
        lanes::lane(backup, lanes::spec(id, &registers), &key, &clock, false).unwrap()
    };
    let (identity, books) = (open(IDENTITY, "identity"), open(BOOKS, "books"));
    let (identity, books) = (journal(&identity.books), journal(&books.books));
    assert!(joins(&identity, &books, operator).is_empty());
    assert_sealed_claims_stay_closed(&identity, places, &BTreeSet::new());
}
