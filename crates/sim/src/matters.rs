//! What people do with their wallets, one matter after another. Source: VarietyCash §3; the issue ("simulation").

use std::time::Duration;

use florin_money::{Amount, Currency};
use florin_wallet::{
    BuyOptions, CoinMix, Output, PayInvoiceOptions, PayOptions, Policy, ReceiveOptions, RedeemAmount,
    RefundChoice, RequestOptions, SendOptions, SendTo, Wallet, WalletError,
};

use crate::person::{Person, locked};
use crate::shop;

const INVOICE_LASTS: Duration = Duration::from_secs(30);
/// People pay one of the latest invoices: older ones have run out.
const RECENT: usize = 2;
const ANYTHING: Policy = Policy { max: None, yes: true };

#[derive(Clone, Copy)]
enum Matter {
    Buy,
    Page(&'static str, &'static str),
    Request,
    PayInvoice,
    GiveUp,
    Send,
    Receive,
    TakeBack,
    Refresh,
    Redeem,
    Restore,
    Status,
}

/// What there is to do, each as often as it stands here.
const MATTERS: [Matter; 23] = [
    Matter::Buy,
    Matter::Buy,
    Matter::Buy,
    Matter::Page("GET", "/a"),
    Matter::Page("GET", "/a"),
    Matter::Page("GET", "/a"),
    Matter::Page("POST", "/a"),
    Matter::Page("GET", "/b"),
    Matter::Page("GET", "/b"),
    Matter::Request,
    Matter::Request,
    Matter::PayInvoice,
    Matter::PayInvoice,
    Matter::PayInvoice,
    Matter::GiveUp,
    Matter::Send,
    Matter::Receive,
    Matter::Receive,
    Matter::TakeBack,
    Matter::Refresh,
    Matter::Redeem,
    Matter::Restore,
    Matter::Status,
];

impl Matter {
    fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Page("POST", _) => "post a page",
            Self::Page(_, "/b") => "pay /b",
            Self::Page(..) => "pay /a",
            Self::Request => "request",
            Self::PayInvoice => "pay invoice",
            Self::GiveUp => "give up an invoice",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::TakeBack => "take back",
            Self::Refresh => "refresh",
            Self::Redeem => "redeem",
            Self::Restore => "restore",
            Self::Status => "status",
        }
    }
}

impl Person {
    /// Sees to one matter.
    pub(crate) async fn matter(&self, wallet: &Wallet) {
        let dice = self.machine.dice();
        // Without coins there is little to do.
        let poor = wallet.balance().is_ok_and(|b| b.balances.iter().all(|row| row.free.minor() < 40));
        let drawn = dice.one_of(&MATTERS).copied().unwrap_or(Matter::Status);
        let matter = if poor && dice.per_mille(800) { Matter::Buy } else { drawn };
        let what = matter.name();
        *locked(&self.at) = Some(what);
        self.coverage.step(&format!("wallet: {what}"));
        match self.see_to(matter, wallet).await {
            Ok(()) => self.trace.say(&self.machine.name, format!("{what}: done")),
            Err(error) => self.judge(what, &error),
        }
    }

    async fn see_to(&self, matter: Matter, wallet: &Wallet) -> Result<(), WalletError> {
        let dice = self.machine.dice();
        let amount = |low, high| Amount::new(dice.within(low, high), Currency::FLO);
        match matter {
            Matter::Buy => self.buy(wallet, amount(20, 400)).await,
            Matter::Page(method, page) => self.page(wallet, method, page).await,
            Matter::Request => self.request(wallet, amount(1, 60)).await,
            Matter::PayInvoice => self.pay_invoice(wallet).await,
            Matter::GiveUp => self.give_up(wallet).await,
            Matter::Send => self.send(wallet, amount(1, 60)).await,
            Matter::Receive => self.receive(wallet).await,
            Matter::TakeBack => self.take_back(wallet).await,
            Matter::Refresh => wallet.refresh(dice.per_mille(700)).await.map(|_| ()),
            Matter::Redeem => self.redeem(wallet, amount(1, 80)).await,
            Matter::Restore => wallet.restore().await.map(|_| ()),
            Matter::Status => wallet.status().await.map(|_| ()),
        }
    }

    async fn buy(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let dice = self.machine.dice();
        let choices = [RefundChoice::No, RefundChoice::ByKey, RefundChoice::ByName];
        let refund = dice.one_of(&choices).copied().unwrap_or_default();
        let mix = if dice.per_mille(500) { CoinMix::Mixed } else { CoinMix::Few };
        let options = BuyOptions { refund, mix, wait: Duration::from_secs(4), new: dice.per_mille(300) };
        wallet.buy(amount, &options).await.map(|_| ())
    }

    async fn page(&self, wallet: &Wallet, method: &str, page: &'static str) -> Result<(), WalletError> {
        let price = shop::PRICES.iter().find(|(path, _)| *path == page).map_or(0, |(_, price)| *price);
        self.means("shop", price);
        let options = PayOptions { method: method.to_owned(), policy: ANYTHING, ..PayOptions::default() };
        let url = format!("{}{page}/{}", shop::URL, self.machine.dice().below(6));
        wallet.pay(&url, &options, &mut Output::Memory(Vec::new())).await.map(|_| ())
    }

    async fn request(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let options = RequestOptions { expires: INVOICE_LASTS, new: true, ..RequestOptions::default() };
        let asked = wallet.invoice(amount, &options).await?;
        locked(&self.board.invoices).push((self.machine.name.clone(), asked.invoice.clone(), amount.minor()));
        wallet.wait_for_payment(&asked.invoice, Duration::from_secs(6)).await.map(|_| ())
    }

    async fn pay_invoice(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let invoice = {
            let invoices = locked(&self.board.invoices);
            let recent: Vec<_> = invoices.iter().rev().take(RECENT).collect();
            self.machine.dice().one_of(&recent).map(|recent| (*recent).clone())
        };
        let Some((_, invoice, minor)) = invoice.filter(|(whose, ..)| *whose != self.machine.name) else {
            return Ok(());
        };
        self.means("person", minor);
        *locked(&self.tried) = Some(invoice.clone());
        let options = PayInvoiceOptions { policy: ANYTHING, cancel: false };
        wallet.pay_invoice(&invoice, &options).await.map(|_| ())
    }

    /// Pays, and changes its mind before it knows; or gives up what it tried last, paid or not.
    async fn give_up(&self, wallet: &Wallet) -> Result<(), WalletError> {
        if self.machine.dice().per_mille(500) {
            let thinks = Duration::from_millis(self.machine.dice().within(0, 3_000));
            let regrets = async {
                tokio::time::sleep(thinks).await;
                self.cancel(wallet).await
            };
            let (paid, cancelled) = tokio::join!(self.pay_invoice(wallet), regrets);
            return paid.and(cancelled);
        }
        self.cancel(wallet).await
    }

    async fn cancel(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let Some(invoice) = locked(&self.tried).clone() else { return Ok(()) };
        let options = PayInvoiceOptions { policy: ANYTHING, cancel: true };
        wallet.pay_invoice(&invoice, &options).await.map(|_| ())
    }

    async fn send(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let options = SendOptions { memo: String::new(), to: SendTo::Bearer, policy: ANYTHING };
        let sent = wallet.send(amount, &options).await?;
        locked(&self.board.texts).extend(sent.text);
        Ok(())
    }

    async fn receive(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let text = self.machine.dice().one_of(&locked(&self.board.texts)).cloned();
        let Some(text) = text else { return Ok(()) };
        let options =
            ReceiveOptions { rest: self.machine.dice().per_mille(500), ..ReceiveOptions::default() };
        wallet.receive(&text, &options).await.map(|_| ())
    }

    async fn take_back(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let sent = wallet.balance()?.sent;
        let Some(row) = self.machine.dice().one_of(&sent) else { return Ok(()) };
        wallet.take_back(&row.id).await.map(|_| ())
    }

    async fn redeem(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let all = self.machine.dice().per_mille(100);
        let wanted = if all { RedeemAmount::All(Currency::FLO) } else { RedeemAmount::Exactly(amount) };
        wallet.redeem(wanted).await.map(|_| ())
    }
}
