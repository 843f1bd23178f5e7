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

use super::records::ContactRecord;
use super::{Agent, Node, Purpose, Turn};

/// How often grants are made anew at the latest.
const RENEW_EVERY: Span = Span::from_secs(6 * 3_600);
/// How often turning epochs are looked at, whatever else is done: their mailboxes are open well before
/// anybody writes there.
const LOOK_EVERY: Span = Span::HOUR;
/// How long a grant lasts: a node that stays away for longer has to be asked again.
const GRANT_LASTS: Span = Span::from_days(2);
/// How soon a refused subscription is tried again.
const AGAIN: Span = Span::from_secs(30);
/// Envelopes the node may push before it is given more credit.
pub(super) const CREDIT: u32 = 256;

/// Our mailboxes by address.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    open: BTreeMap<Address, Mailbox>,
    /// Those of conversations by contact and epoch, so that no key is derived twice.
    by_epoch: BTreeMap<(u32, u64), Address>,
    /// When grants are made anew.
    next_grants: Time,
    /// When epochs are looked at. No connection and no change of entries puts that off.
    next_look: Time,
    /// Keys derived so far.
    #[cfg(test)]
    derived: usize,
}

/// One that is open.
#[derive(Clone, Debug)]
struct Mailbox {
    key: KeyPair,
    /// With whom the conversation is that it belongs to; none for the one everybody can compute.
    contact: Option<u32>,
}

impl Mailboxes {
    /// The key of one of our mailboxes.
    pub(super) fn key(&self, mailbox: &Address) -> Option<&KeyPair> {
        self.open.get(mailbox).map(|mailbox| &mailbox.key)
    }

    fn is_open(&self, contact: u32, epoch: u64) -> bool {
        self.by_epoch.contains_key(&(contact, epoch))
    }

    fn insert(&mut self, place: (u32, u64), key: KeyPair) {
        let (address, contact) = (key.address(), Some(place.0));
        self.by_epoch.insert(place, address);
        self.open.insert(address, Mailbox { key, contact });
        #[cfg(test)]
        {
            self.derived += 1;
        }
    }

    fn of_contact(&self, contact: u32) -> Vec<Address> {
        self.by_epoch
            .range((contact, 0)..=(contact, u64::MAX))
            .map(|(_, address)| *address)
            .collect()
    }

    fn close_all_of(&mut self, contact: u32) {
        let theirs = self.by_epoch.range((contact, 0)..=(contact, u64::MAX));
        for (place, address) in
            theirs.map(|(place, address)| (*place, *address)).collect::<Vec<_>>()
        {
            self.by_epoch.remove(&place);
            self.open.remove(&address);
        }
    }

    fn close(&mut self, ended: impl Fn((u32, u64)) -> bool) {
        let open = &mut self.open;
        self.by_epoch.retain(|place, address| {
            let stays = !ended(*place);
            if !stays {
                open.remove(address);
            }
            stays
        });
    }

    pub(super) fn next(&self) -> Time {
        self.next_grants.min(self.next_look)
    }

    /// With a new connection the clock may have been set back.
    pub(super) fn look_as_from(&mut self, now: Time) {
        self.next_look = self.next_look.min(now + LOOK_EVERY);
    }

    pub(super) fn try_again(&mut self, now: Time) {
        self.next_grants = self.next_grants.min(now + AGAIN);
    }
}

impl Agent {
    /// The mailbox that everybody can compute, from the beginning.
    pub(super) fn open_own_mailbox(&mut self) {
        let key = self.identity.key().clone();
        self.mailboxes.open.insert(key.address(), Mailbox { key, contact: None });
    }

    /// Opens mailboxes whose time has come, and closes those whose time is over.
    pub(super) fn refresh_mailboxes(&mut self, turn: Turn<'_>) {
        self.mailboxes.next_look = turn.now + LOOK_EVERY;
        self.close_ended(turn);
        let contacts: Vec<_> = self.people.numbers().collect();
        let opened: Vec<_> =
            contacts.into_iter().flat_map(|contact| self.derive_mailboxes(turn, contact)).collect();
        self.subscribe(turn, &opened);
    }

    /// Opens the mailboxes of one conversation, whose key has become known. What many others cost was
    /// paid when they came.
    pub(super) fn open_conversation(&mut self, turn: Turn<'_>, contact: u32) {
        let opened = self.derive_mailboxes(turn, contact);
        self.subscribe(turn, &opened);
    }

    /// Listens to nothing of a contact any more.
    pub(super) fn close_conversation(&mut self, contact: u32) {
        self.mailboxes.close_all_of(contact);
    }

    /// The person has turned to a contact: from now on the rotating entry collects what they write, too.
    pub(super) fn widen_collection(&mut self, turn: Turn<'_>, contact: u32) {
        let mailboxes = self.mailboxes.of_contact(contact);
        self.subscribe(turn, &mailboxes);
    }

    /// Those mailboxes of a contact that were not open yet, and are from now on.
    fn derive_mailboxes(&mut self, turn: Turn<'_>, contact: u32) -> Vec<Address> {
        // What strangers write waits in the network until they are let in: they cost no mailboxes.
        if !self.people.get(contact).is_some_and(ContactRecord::is_listened_to) {
            return Vec::new();
        }
        let Some(conversation) = self.people.conversation(&self.identity, contact) else {
            return Vec::new();
        };
        let mut opened = Vec::new();
        for epoch in conversation.incoming_epochs(turn.now) {
            if self.mailboxes.is_open(contact, epoch) {
                continue;
            }
            let key = conversation.mailbox(Direction::Incoming, epoch);
            opened.push(key.address());
            self.mailboxes.insert((contact, epoch), key);
        }
        opened
    }

    fn close_ended(&mut self, turn: Turn<'_>) {
        let mut live = BTreeMap::new();
        for contact in self.people.numbers().collect::<Vec<_>>() {
            let conversation = self.people.conversation(&self.identity, contact);
            live.extend(conversation.map(|known| (contact, known.incoming_epochs(turn.now))));
        }
        self.mailboxes.close(|(contact, epoch)| {
            live.get(&contact).is_none_or(|epochs| !epochs.contains(&epoch))
        });
    }

    /// Epochs turn and grants run out: mailboxes are looked at, and opened again.
    pub(super) fn mailboxes_due(&mut self, turn: Turn<'_>) {
        if self.mailboxes.next_look <= turn.now {
            self.forget_removed(turn.now);
            self.forget_refused(turn.now);
            self.forget_fellows();
            self.refresh_mailboxes(turn);
            self.forget_seen(turn.now);
        }
        if self.mailboxes.next_grants <= turn.now {
            self.subscribe_all(turn);
        }
    }

    /// Opens all our mailboxes at the node.
    pub(super) fn subscribe_all(&mut self, turn: Turn<'_>) {
        self.mailboxes.next_grants = turn.now + RENEW_EVERY;
        let mailboxes: Vec<_> = self.mailboxes.open.keys().copied().collect();
        self.subscribe(turn, &mailboxes);
    }

    fn subscribe(&mut self, turn: Turn<'_>, mailboxes: &[Address]) {
        let Some(node) = self.node.clone() else { return };
        let not_after = turn.now + GRANT_LASTS;
        let collectors_max = node.entries.len() + 2;
        for some in mailboxes.chunks((SIGNED_MAX / collectors_max).max(1)) {
            let mut grants = Vec::new();
            for Mailbox { key, contact } in some.iter().filter_map(|at| self.mailboxes.open.get(at))
            {
                let sign = |collector| Grant::sign(key, collector, not_after);
                grants.extend(self.collectors(&node, *contact).into_iter().map(sign));
            }
            // What was read is acknowledged and gone; whatever is left has to be seen again.
            self.call(ClientRequest::Subscribe { grants, after: 0 }, Purpose::Subscribe);
        }
        self.top_up_credit();
    }

    /// Which nodes collect the mailboxes of a contact, or the one that everybody can compute. The
    /// rotating entry is anybody's sooner or later, so it must not see a mailbox that tells whose this
    /// node is: not the latter, and none of which a stranger knows whose it is because the stranger
    /// wrote first, let in or not (PROTOCOL §6.8).
    fn collectors(&self, node: &Node, contact: Option<u32>) -> Vec<Address> {
        let is_sought = contact
            .and_then(|contact| self.people.get(contact))
            .is_some_and(ContactRecord::is_sought);
        let rotating = node.rotating_entry.filter(|_| is_sought);
        [node.address].into_iter().chain(node.entries.iter().copied()).chain(rotating).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agent::{Command, CommandId, Drawer, Input, Output};
    use crate::conversation::Conversation;
    use crate::identity::Identity;
    use crate::payload::ContentType;
    use crate::store::MemoryStore;

    const NOW: Time = Time::from_millis(1_760_000_000_000);

    /// What a new acquaintance costs does not depend on how many there are.
    #[test]
    fn every_stranger_costs_the_keys_of_their_own_mailboxes_and_no_others() {
        const STRANGERS: usize = 100;
        let store = MemoryStore::new();
        let identity = Identity::from_seed(&[1; 32]);
        let mut agent = Agent::new(identity, [2; 32], &store, NOW).unwrap();
        let turn = Turn { store: &store, now: NOW };
        for seed in 0..STRANGERS {
            let stranger = *Identity::from_seed(&[seed as u8 + 10; 32]).public();
            let contact = agent.know(turn, stranger.address()).unwrap();
            agent.learn_key(turn, contact, stranger);
        }
        let open = agent.mailboxes.open.len() - 1;
        assert!((5 * STRANGERS..=6 * STRANGERS).contains(&open), "{open}");
        assert_eq!(agent.mailboxes.derived, open);
        // Nor is anything derived again when the epochs are looked at.
        agent.refresh_mailboxes(turn);
        assert_eq!(agent.mailboxes.derived, open);
    }

    #[test]
    fn the_rotating_entry_sees_no_mailbox_that_everybody_or_a_stranger_can_tell_whose_it_is() {
        let store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let stranger = *Identity::from_seed(&[9; 32]).public();
        let contact = agent.know(Turn { store: &store, now: NOW }, stranger.address()).unwrap();
        agent.learn_key(Turn { store: &store, now: NOW }, contact, stranger);
        let [node, lasting, rotating] = [3, 4, 5].map(|byte| Address::from_bytes([byte; 20]));
        let (entries, rotating_entry) = (vec![lasting], Some(rotating));
        agent.handle(Input::Connected { node, entries, rotating_entry }, &store, NOW).unwrap();
        let all = granted(&mut agent);
        assert!(all.len() >= 6 && all.contains_key(&agent.address()));
        assert!(all.values().all(|to| *to == [node, lasting].into()));
    }

    /// Nobody has to wait for the next renewal after the first word to a contact.
    #[test]
    fn the_rotating_entry_collects_from_contacts_that_the_person_wrote_to_or_named() {
        let [node, rotating] = [3, 5].map(|byte| Address::from_bytes([byte; 20]));
        let friend = *Identity::from_seed(&[9; 32]).public();
        let to = friend.address();
        let key = Some(friend);
        let write = Command::Send {
            to,
            content_type: ContentType::TEXT,
            body: b"hello".to_vec(),
            ttl: Span::DAY,
        };
        for command in [write, Command::AddContact { name: "bob".into(), address: to, key }] {
            let store = MemoryStore::new();
            let mut agent =
                Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
            let contact = agent.know(Turn { store: &store, now: NOW }, to).unwrap();
            agent.learn_key(Turn { store: &store, now: NOW }, contact, friend);
            let (entries, rotating_entry) = (Vec::new(), Some(rotating));
            agent.handle(Input::Connected { node, entries, rotating_entry }, &store, NOW).unwrap();
            granted(&mut agent);
            agent.handle(Input::Command { id: CommandId(1), command }, &store, NOW).unwrap();
            let widened = granted(&mut agent);
            assert!(widened.len() >= 5 && !widened.contains_key(&agent.address()));
            assert!(widened.values().all(|to| *to == [node, rotating].into()));
        }
    }

    #[test]
    fn new_entries_are_granted_all_mailboxes_and_calls_under_way_go_on() {
        let store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let [node, first, second] = [3, 4, 5].map(|byte| Address::from_bytes([byte; 20]));
        let connected = Input::Connected { node, entries: vec![first], rotating_entry: None };
        agent.handle(connected, &store, NOW).unwrap();
        granted(&mut agent);
        let under_way = agent.calls.len();
        let changed = Input::Entries { entries: vec![second], rotating_entry: None };
        agent.handle(changed, &store, NOW).unwrap();
        assert_eq!(granted(&mut agent), [(agent.address(), [node, second].into())].into());
        assert_eq!(agent.calls.len(), under_way + 1);
    }

    /// Who is granted which mailbox by what the agent asks of its node.
    fn granted(agent: &mut Agent) -> BTreeMap<Address, BTreeSet<Address>> {
        let mut granted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        while let Some(output) = agent.poll_output() {
            let Output::Call { request: ClientRequest::Subscribe { grants, .. }, .. } = output
            else {
                continue;
            };
            for grant in grants {
                granted.entry(grant.mailbox()).or_default().insert(grant.collector());
            }
        }
        granted
    }

    /// Its node begins again then, and takes no card and no message that the wrong time made.
    #[test]
    fn an_agent_whose_clock_was_set_back_goes_by_it_from_the_next_connection_on() {
        let mut store = MemoryStore::new();
        let ahead = NOW + Span::HOUR.times(5);
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, ahead).unwrap();
        let [node, entry] = [3, 4].map(|byte| Address::from_bytes([byte; 20]));
        agent.handle(connected(node, entry), &store, ahead).unwrap();
        assert_eq!(published(&mut agent, &mut store, ahead), [ahead]);
        agent.handle(Input::Disconnected, &store, NOW).unwrap();
        agent.handle(connected(node, entry), &store, NOW).unwrap();
        assert_eq!(published(&mut agent, &mut store, NOW), [NOW]);
        assert!(agent.poll_timeout().is_some_and(|(at, _)| at <= NOW + Span::HOUR));
    }

    /// When the cards that an agent publishes were issued.
    fn published(agent: &mut Agent, store: &mut MemoryStore<Drawer>, now: Time) -> Vec<Time> {
        let mut issued = Vec::new();
        while let Some(output) = agent.poll_output() {
            match output {
                Output::Write(batch) => {
                    store.apply(&batch);
                    while let Some(output) = agent.poll_output() {
                        assert!(!matches!(output, Output::Write(_)));
                    }
                    agent.handle(Input::Durable(batch.seq), store, now).unwrap();
                }
                Output::Call { request: ClientRequest::PublishCard { card }, .. } => {
                    issued.push(card.issued_at());
                }
                _ => {}
            }
        }
        issued
    }

    /// Whoever was turned away must not see who collects their mailboxes, however much they were told before.
    #[test]
    fn whoever_was_removed_and_writes_again_is_a_stranger_until_the_person_writes_to_them() {
        let store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let [node, rotating] = [3, 5].map(|byte| Address::from_bytes([byte; 20]));
        let friend = *Identity::from_seed(&[9; 32]).public();
        let to = friend.address();
        let contact = agent.know(Turn { store: &store, now: NOW }, to).unwrap();
        agent.learn_key(Turn { store: &store, now: NOW }, contact, friend);
        let rotating_entry = Some(rotating);
        let input = Input::Connected { node, entries: Vec::new(), rotating_entry };
        agent.handle(input, &store, NOW).unwrap();
        granted(&mut agent);
        let send = || Command::Send {
            to,
            content_type: ContentType::TEXT,
            body: b"hello".to_vec(),
            ttl: Span::DAY,
        };
        for command in [send(), Command::RemoveContact(to)] {
            agent.handle(Input::Command { id: CommandId(1), command }, &store, NOW).unwrap();
            granted(&mut agent);
        }
        assert_eq!(agent.know(Turn { store: &store, now: NOW }, to).unwrap(), contact);
        agent.subscribe_all(Turn { store: &store, now: NOW });
        let all = granted(&mut agent);
        assert!(all.len() >= 6 && all.values().all(|to| *to == [node].into()));
        // Removed once more: a word to them is enough to be turned to them again.
        for command in [Command::RemoveContact(to), send()] {
            granted(&mut agent);
            agent.handle(Input::Command { id: CommandId(1), command }, &store, NOW).unwrap();
        }
        let widened = granted(&mut agent);
        assert!(widened.len() >= 5 && widened.values().all(|to| *to == [node, rotating].into()));
    }

    /// Else one entry that is away now and then makes its reader deaf to everybody within a week.
    #[test]
    fn changes_of_entries_and_connections_put_off_no_epoch() {
        let again: [fn(Address, Address) -> Vec<Input>; 2] = [
            |_, entry| vec![Input::Entries { entries: vec![entry], rotating_entry: None }],
            |node, entry| vec![Input::Disconnected, connected(node, entry)],
        ];
        for inputs in again {
            let store = MemoryStore::new();
            let ours = Identity::from_seed(&[1; 32]);
            let friend = *Identity::from_seed(&[9; 32]).public();
            let conversation = Conversation::new(&ours, &friend).unwrap();
            let mut agent = Agent::new(ours, [2; 32], &store, NOW).unwrap();
            let contact = agent.know(Turn { store: &store, now: NOW }, friend.address()).unwrap();
            agent.learn_key(Turn { store: &store, now: NOW }, contact, friend);
            let [node, first, second] = [3, 4, 5].map(|byte| Address::from_bytes([byte; 20]));
            agent.handle(connected(node, first), &store, NOW).unwrap();
            let mut seen = granted(&mut agent);
            for hours in (5..8 * 24).step_by(5) {
                let now = NOW + Span::HOUR.times(hours);
                while let Some((at, _)) = agent.poll_timeout().filter(|(at, _)| *at < now) {
                    agent.handle(Input::Tick, &store, at.max(NOW)).unwrap();
                    seen.extend(granted(&mut agent));
                }
                let epoch = conversation.epoch_at(now);
                let mailbox = conversation.mailbox(Direction::Incoming, epoch).address();
                assert!(seen.contains_key(&mailbox), "not open after {hours} hours");
                for input in inputs(node, if hours % 2 == 0 { first } else { second }) {
                    agent.handle(input, &store, now).unwrap();
                    seen.extend(granted(&mut agent));
                }
            }
        }
    }

    fn connected(node: Address, entry: Address) -> Input {
        Input::Connected { node, entries: vec![entry], rotating_entry: None }
    }

    #[test]
    fn the_same_entries_in_another_order_are_granted_nothing_anew() {
        let store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let [node, first, second] = [3, 4, 5].map(|byte| Address::from_bytes([byte; 20]));
        let entries = vec![first, second];
        let input = Input::Connected { node, entries, rotating_entry: None };
        agent.handle(input, &store, NOW).unwrap();
        granted(&mut agent);
        let turned = Input::Entries { entries: vec![second, first], rotating_entry: None };
        agent.handle(turned, &store, NOW).unwrap();
        assert!(granted(&mut agent).is_empty());
    }

    #[test]
    fn a_new_epoch_opens_one_mailbox_and_the_oldest_is_closed() {
        let store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let friend = *Identity::from_seed(&[9; 32]).public();
        let contact = agent.know(Turn { store: &store, now: NOW }, friend.address()).unwrap();
        agent.learn_key(Turn { store: &store, now: NOW }, contact, friend);
        let before = agent.mailboxes.open.clone();
        let later = NOW + Span::from_days(7);
        agent.refresh_mailboxes(Turn { store: &store, now: later });
        let open = &agent.mailboxes.open;
        assert_eq!(open.keys().filter(|address| !before.contains_key(address)).count(), 1);
        assert_eq!(before.keys().filter(|address| !open.contains_key(address)).count(), 1);
        agent.close_conversation(contact);
        assert_eq!(agent.mailboxes.open.keys().copied().collect::<Vec<_>>(), [agent.address()]);
    }
}
