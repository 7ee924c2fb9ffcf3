//! Between the end of a matter and the moment its owner knows of it: until then the same command must not do it again.
//! Source: issue, "The same after a crash" (repeat the command: the payment ends once).
//!
//! A purchase or redemption that has ended leaves a note until it is told. A paid page stays open until it is told: the
//! same bytes get it again from its merchant.

use std::sync::PoisonError;

use florin_books::DocumentKey;
use florin_coin::payer::PayerNews;
use florin_shell::exchange::Exchange;

use crate::documents::{End, Item, Kind, Payment, UNTOLD};
use crate::refusal::WalletError;
use crate::wallet::Wallet;

/// What this process has reported and not yet heard to be told.
#[derive(Default)]
pub(crate) struct Telling {
    ended: Vec<DocumentKey>,
    paid: Vec<Paid>,
}

struct Paid {
    exchange: Exchange,
    payment: Payment,
    news: PayerNews,
    receipt: Option<Vec<u8>>,
}

impl Wallet {
    /// The owner has seen every report of this process: what they were about may be asked for anew. Without
    /// [`crate::OpenOptions::tells`] there is nothing to do.
    ///
    /// # Errors
    /// Those of the books; the same command then reports again what it has reported.
    pub async fn told(&self) -> Result<(), WalletError> {
        let Telling { ended, paid } =
            std::mem::take(&mut *self.telling.lock().unwrap_or_else(PoisonError::into_inner));
        for p in paid {
            self.end_payment(&p.exchange, &p.payment, &p.news, p.receipt).await?;
        }
        for key in ended {
            let mut t = self.fresh("florin/v1/wallet/told", &[&key.id]);
            t.remove(key);
            self.house.commit(t).await?;
        }
        Ok(())
    }

    /// What has ended and was never told, of a kind.
    pub(crate) fn untold(&self, kind: Kind) -> Result<Vec<Item>, WalletError> {
        let mut items: Vec<Item> = self.documents(UNTOLD, "the history")?;
        items.retain(|item| item.kind == kind);
        items.sort_by_key(|item| (item.at, item.id));
        Ok(items)
    }

    /// It stands in a report now.
    pub(crate) fn reporting(&self, id: [u8; 16]) {
        if self.tells {
            let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
            telling.ended.push(DocumentKey::new(UNTOLD, id));
        }
    }

    /// Ends a paid page, at once or when it is told; gives what the history says, or will say.
    pub(crate) async fn end_page(
        &self,
        exchange: &Exchange,
        payment: &Payment,
        news: PayerNews,
        receipt: Option<Vec<u8>>,
    ) -> Result<Item, WalletError> {
        if !self.tells {
            return self.end_payment(exchange, payment, &news, receipt).await;
        }
        let item = self.paid_item(payment, End::Done, &news, receipt.clone());
        let paid = Paid { exchange: exchange.clone(), payment: payment.clone(), news, receipt };
        self.telling.lock().unwrap_or_else(PoisonError::into_inner).paid.push(paid);
        Ok(item)
    }
}
