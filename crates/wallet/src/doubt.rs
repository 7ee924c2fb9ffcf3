//! What became of coins received that the operator would not judge. Nobody signs a refusal, so it ends nothing: the payee
//! gives the payment up, and the signed answer says whether it had been paid before.
//! Source: architecture.md, "Never unknown"; ADR 0033.

use florin_books::Transition;
use florin_coin::messages::{Outcome, PayeeAnswer};
use florin_coin::payee::{self, Presented, Question};
use florin_coin::{IssuerKey, pay_id};
use florin_crypto::{ByteArray, Bytes, cbor};
use florin_shell::exchange::{Exchange, NotAuthentic};

use crate::apply::Apply;
use crate::documents::{End, Note, Proof, Receiving};
use crate::post;
use crate::purse::EXP_MS;

impl Apply<'_> {
    /// The request was refused, or the question came too late: it is asked. Where there is no key to ask with now, nothing
    /// changes and the same bytes are sent again.
    pub(crate) fn doubted(&self, x: &Exchange, doubt: Receiving, t: &mut Transition) {
        if let Some(next) = self.question(doubt) {
            t.remove(x.key());
            next.begin(t);
        }
    }

    fn question(&self, doubt: Receiving) -> Option<Exchange> {
        let issuer = IssuerKey::of(&self.keys, self.now)?;
        let (tid, deadline) = (doubt.invoice.tid, doubt.invoice.deadline);
        let question = Question { tid, com: doubt.com, deadline, gives_up: true };
        let (me, exp) = (&self.wallet.identity, self.now.plus_ms(EXP_MS));
        let entropy = &mut *self.wallet.entropy();
        let prepared = payee::status_request(&issuer, me, &question, exp, entropy).ok()?;
        let note = Note::GiveUp(doubt);
        Some(
            self.wallet
                .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
                .withdrawn_by(prepared.withdrawn),
        )
    }

    /// The signed answer: it never happens now, or it had been paid and what was issued for it is asked for again (V3).
    pub(crate) fn told(
        &self,
        x: &Exchange,
        doubt: Receiving,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let (verdict, signed) =
            payee::read_status(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        if verdict.outcome == Outcome::Paid {
            let again = self.again(doubt).ok_or(NotAuthentic)?;
            t.remove(x.key());
            again.begin(t);
            return Ok(());
        }
        let invoice = &doubt.invoice;
        t.remove(x.key());
        t.remove(invoice.key());
        // The payer finds no verdict of its own in it, and asks the operator, who knows by now.
        let said = PayeeAnswer { receipt: None, for_payer: Bytes(Vec::new()) };
        let me = self.wallet.identity.id();
        let put = post::put_answer(self.keys.operator, me, invoice.tid, &cbor::encode(&said));
        self.deliver(x, "answer", post::PUT_PATH, put, t);
        let proof = Proof { statement: Some(Bytes(signed)), ..Proof::default() };
        let mut item = self.received(invoice, End::Refused, doubt.refused.clone(), proof);
        item.id = ByteArray(*pay_id(&doubt.com).bytes());
        self.note(t, &item);
        Ok(())
    }

    fn again(&self, doubt: Receiving) -> Option<Exchange> {
        let issuer = IssuerKey::of(&self.keys, self.now)?;
        let invoice = &doubt.invoice;
        let presented = Presented {
            payer: doubt.payer,
            tid: invoice.tid,
            com: doubt.com,
            deadline: invoice.deadline,
            enc_c1: doubt.enc_c1.clone(),
        };
        let list = self.wallet.refresh_list(invoice.amount).ok()?;
        let v_desc = payee::refresh(invoice.amount, list).ok()?;
        let entropy = &mut *self.wallet.entropy();
        let prepared =
            payee::validation_req(&issuer, &self.wallet.identity, &presented, v_desc, entropy).ok()?;
        let note = Note::Validate(doubt);
        Some(
            self.wallet
                .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
                .withdrawn_by(prepared.withdrawn),
        )
    }
}
