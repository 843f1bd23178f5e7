//! Which mailboxes are ours: the one everybody can compute, and those of our conversations.
//!
//! Entry type is [`Mailboxes`] (PROTOCOL §4.6). Mailboxes of conversations turn with their epochs;
//! all that can hold a live envelope are kept open, with grants for our node and its entries.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::conversation::Direction;
use crate::grant::Grant;
use crate::key::KeyPair;
use crate::message::{ClientRequest, SIGNED_MAX};
use crate::time::{Span, Time};

use super::{Agent, Purpose, Turn};

/// How often grants are made anew and turning epochs are looked at.
const RENEW_EVERY: Span = Span::from_secs(6 * 3_600);
/// How long a grant lasts: a node that stays away for longer has to be asked again.
const GRANT_LASTS: Span = Span::from_days(2);
/// How soon a refused subscription is tried again.
const AGAIN: Span = Span::from_secs(30);
/// Envelopes the node may push before it is given more credit.
pub(super) const CREDIT: u32 = 256;

/// Our mailboxes by address.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    open: BTreeMap<Address, KeyPair>,
    next: Time,
}

impl Mailboxes {
    /// The key of one of our mailboxes.
    pub(super) fn key(&self, mailbox: &Address) -> Option<&KeyPair> {
        self.open.get(mailbox)
    }

    pub(super) fn next(&self) -> Time {
        self.next
    }

    pub(super) fn try_again(&mut self, now: Time) {
        self.next = self.next.min(now + AGAIN);
    }
}

impl Agent {
    /// Computes our mailboxes anew, and opens those that are new.
    pub(super) fn refresh_mailboxes(&mut self, turn: Turn<'_>) {
        let mut wanted = BTreeMap::from([(self.address(), self.identity.key().clone())]);
        for contact in self.people.numbers().collect::<Vec<_>>() {
            let Some(conversation) = self.people.conversation(&self.identity, contact) else {
                continue;
            };
            for epoch in conversation.incoming_epochs(turn.now) {
                let key = conversation.mailbox(Direction::Incoming, epoch);
                wanted.insert(key.address(), key);
            }
        }
        let known = std::mem::replace(&mut self.mailboxes.open, wanted);
        let opened = self.mailboxes.open.iter().filter(|(address, _)| !known.contains_key(address));
        let opened = opened.map(|(_, key)| key.clone()).collect::<Vec<_>>();
        self.subscribe(turn, &opened);
    }

    /// Epochs turn and grants run out: all mailboxes are looked at and opened again.
    pub(super) fn mailboxes_due(&mut self, turn: Turn<'_>) {
        if self.mailboxes.next <= turn.now {
            self.refresh_mailboxes(turn);
            self.subscribe_all(turn);
            self.forget_seen(turn.now);
        }
    }

    /// Opens all our mailboxes at the node.
    pub(super) fn subscribe_all(&mut self, turn: Turn<'_>) {
        self.mailboxes.next = turn.now + RENEW_EVERY;
        let keys = self.mailboxes.open.values().cloned().collect::<Vec<_>>();
        self.subscribe(turn, &keys);
    }

    fn subscribe(&mut self, turn: Turn<'_>, keys: &[KeyPair]) {
        let Some(node) = self.node.clone() else { return };
        let collectors: Vec<_> = [node.address].into_iter().chain(node.entries).collect();
        let not_after = turn.now + GRANT_LASTS;
        for keys in keys.chunks((SIGNED_MAX / collectors.len()).max(1)) {
            let grants = keys.iter().flat_map(|key| {
                collectors.iter().map(|collector| Grant::sign(key, *collector, not_after))
            });
            // What was read is acknowledged and gone; whatever is left has to be seen again.
            let request = ClientRequest::Subscribe { grants: grants.collect(), after: 0 };
            self.call(request, Purpose::Subscribe);
        }
        self.top_up_credit();
    }
}
