//! Another key for the same person: theirs, which we follow or doubt, and ours, which they are told (PROTOCOL §4.21).
//!
//! [`Agent::judge`] is the one place that decides what a letter about keys is worth. The first successor that a key
//! names is followed, loudly; whatever else it names later is shown as a conflict and followed by nobody, so that
//! whoever stole the key takes nobody back. While a key is in doubt nothing is said to its owner.

use crate::address::Address;
use crate::content::Content;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::payload::{ContentType, Payload};
use crate::store::{Store, StoreError, Write};
use crate::succession::{Lineage, Succession};
use crate::time::Time;

use super::entry::{Author, MessageNumber, MessageState, Place};
use super::history::key;
use super::io::{CommandError, Contact, Drawer, Event, Refusal};
use super::records::{
    Admission, ContactRecord, Letter, Outgoing, entry_from_bytes, entry_to_bytes,
};
use super::rooms::Rooms;
use super::ties::{Doubt, FORMER_MAX, Tie};
use super::{Agent, HIGHEST, Turn, cards, read_all};

/// Where our own lineage is kept, which leads to our key.
const LINEAGE: &[u8] = b"lineage";
/// Where it is kept that our own key is replaced, and that the store of the new one is there.
const REPLACED: &[u8] = b"replaced";
/// Where it is kept that our own key is replaced, from before the store of the new one is there.
const REPLACING: &[u8] = b"replacing";

/// What becomes of a letter about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This contact has another key from now on.
    Follow { contact: u32, step: Step },
    /// It contradicts what is known of this contact.
    Dispute { contact: u32, claimed: Address },
    /// It stays where it is, and its author learns nothing.
    Shut,
}

/// From one key to another, over as many as are between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Those that are left, the oldest first.
    left: Vec<PublicKey>,
    newest: PublicKey,
    made_at: Time,
}

/// What our own keys are to others.
#[derive(Debug, Default)]
pub(super) struct Succeeding {
    /// How our key came about, if others had been ours before.
    lineage: Option<Lineage>,
    /// What our key was replaced by.
    replaced: Option<Address>,
}

impl Succeeding {
    pub(super) fn read(turn: Turn<'_>) -> Result<Self, StoreError> {
        let replaced = match read_lineage(turn.store, REPLACED)? {
            Some(replaced) => Some(replaced),
            None => read_lineage(turn.store, REPLACING)?,
        };
        Ok(Self {
            lineage: read_lineage(turn.store, LINEAGE)?,
            replaced: replaced.map(|lineage| lineage.newest().address()),
        })
    }
}

impl Agent {
    /// By whose address ours was replaced, if it was: nothing is said in our name any more.
    pub fn replaced_by(&self) -> Option<Address> {
        self.succeeding.replaced
    }

    /// What a letter is worth that says that its author has another key; nothing, if it says no such thing of
    /// anybody whom we know, or what is known.
    pub(super) fn judge(
        &self,
        sender: &PublicKey,
        payload: &Payload,
        now: Time,
    ) -> Option<Verdict> {
        let lineage = read_letter(payload)?;
        let all = lineage.successions();
        // What others hand on is worth nothing.
        let is_authors = sender == lineage.newest() || all.iter().any(|one| one.old() == sender);
        if !is_authors {
            return None;
        }
        let mut verdicts = all.iter().enumerate();
        let verdict = verdicts.find_map(|(at, one)| self.judge_one(one, &all[at..], now))?;
        // Whichever clock is wrong, theirs or ours: it comes again, and is followed on its day.
        let is_ahead = all.iter().any(|one| one.made_at() > now + CLOCK_TOLERANCE);
        Some(if is_ahead { Verdict::Shut } else { verdict })
    }

    /// `rest` begins with `one`.
    fn judge_one(&self, one: &Succession, rest: &[Succession], now: Time) -> Option<Verdict> {
        // Whoever left that key first: what is written with it since, and what the person thinks of that, hides nothing.
        if let Some((contact, record)) = self.people.who_had(|key| key == one.old()) {
            let known = record.tie.successor(one.old(), record.key);
            let claimed = one.new_key().address();
            let verdict = match record.tie.doubt {
                // It comes again when the person has decided.
                Some(_) => Verdict::Shut,
                None => Verdict::Dispute { contact, claimed },
            };
            return (known != Some(*one.new_key())).then_some(verdict);
        }
        let number = self.people.number_of(&one.old().address())?;
        let record = self.people.get(number)?;
        match record.admission {
            Admission::Blocked => Some(Verdict::Shut),
            Admission::Refused { until } if now < until => Some(Verdict::Shut),
            // It comes again when they are let in.
            Admission::Asking { .. } => Some(Verdict::Shut),
            _ if record.is_present() => self.judge_path(number, record, rest, now),
            // By a room of ours the old key may be known as well.
            _ => None,
        }
    }

    /// Where the keys of a contact lead to, and whether anybody may go there.
    fn judge_path(
        &self,
        contact: u32,
        record: &ContactRecord,
        rest: &[Succession],
        now: Time,
    ) -> Option<Verdict> {
        let last = rest.last()?;
        let left = rest.iter().map(|one| *one.old()).collect();
        let claimed = last.new_key().address();
        if record.tie.doubt.is_some() {
            // It comes again when the person has decided.
            return Some(Verdict::Shut);
        }
        let is_ours = claimed == self.address();
        // Else a thief with as many keys has the stolen one forgotten, and its owner's word with it.
        let is_too_far = record.tie.former().len() + rest.len() > FORMER_MAX;
        let goes_back = rest.iter().any(|one| record.tie.former().contains(one.new_key()));
        let number_of_other = self.people.number_of(&claimed);
        let other = number_of_other.and_then(|number| self.people.get(number));
        if number_of_other.is_some_and(|number| self.on_their_way(number) > 0) {
            // By a room of ours; it comes again when they have that.
            return Some(Verdict::Shut);
        }
        match other.map(|other| (other.admission, other.is_present())) {
            Some((Admission::Blocked, _)) => Some(Verdict::Shut),
            Some((Admission::Refused { until }, _)) if now < until => Some(Verdict::Shut),
            // Two people would become one.
            Some((_, true)) => Some(Verdict::Dispute { contact, claimed }),
            _ if is_ours || goes_back || is_too_far => Some(Verdict::Dispute { contact, claimed }),
            _ => {
                let step = Step { left, newest: *last.new_key(), made_at: last.made_at() };
                Some(Verdict::Follow { contact, step })
            }
        }
    }

    /// A contact has another key from now on: the conversation goes on with that.
    pub(super) fn follow(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        step: Step,
        letter: &Letter,
    ) -> Result<(), StoreError> {
        let Some(record) = self.people.get(contact) else { return Ok(()) };
        let (former, is_named) = (record.address, record.is_named);
        let Step { left, newest, made_at } = step;
        // Under the new key they may have asked already, like a stranger.
        let other = self.people.number_of(&newest.address());
        let known = other.and_then(|other| self.people.get(other));
        let is_fellow = known.is_some_and(|known| known.is_fellow);
        // What has been said to and by the new key in rooms has numbers of the same conversation.
        let sent = known.map_or(0, |known| known.sent);
        let received = known.filter(|known| known.is_fellow).map(|known| known.received.clone());
        let held = match other {
            Some(stranger) => {
                let held = self.held_letters(turn, stranger)?;
                // Of one person there is one record.
                self.change_contact(stranger, |record| record.is_fellow = false);
                self.forget_contact(stranger);
                held
            }
            None => Vec::new(),
        };
        self.withdraw_told(turn, contact)?;
        self.close_conversation(contact);
        self.people.rename(contact);
        let digits = self.people.digits(newest.address());
        let is_owed = self.succeeding.lineage.is_some();
        self.change_contact(contact, |record| {
            left.into_iter().for_each(|key| record.tie.leave(key));
            record.is_fellow |= is_fellow;
            (record.address, record.key) = (newest.address(), Some(newest));
            (record.card, record.established, record.compared_at) = (None, false, None);
            // What the old key knows of us the new one may not, and its numbers may have been a thief's.
            (record.tie.is_owed, record.tie.told_profile) = (is_owed, None);
            record.tie.profile = None;
            record.received = received.unwrap_or_default();
            record.sent = record.sent.max(sent);
            if !is_named {
                record.name = digits;
            }
        });
        self.open_conversation(turn, contact);
        self.write_succession(contact, letter);
        self.promise_event(Event::Moved { contact: newest.address(), former, made_at });
        for letter in held {
            self.on_message(turn, contact, letter)?;
        }
        self.advance_contact(turn, contact)
    }

    /// What a contact is told of us by itself is told to their new key, and not to whoever has the old one. Of rooms it is
    /// told to nobody: the new key is no member. What was written to them and has not left goes to neither.
    fn withdraw_told(&mut self, turn: Turn<'_>, contact: u32) -> Result<(), StoreError> {
        self.forget_untold(contact);
        let goes_by_itself = [ContentType::SUCCESSION, ContentType::PROFILE, ContentType::ROOM];
        for number in self.outbox.numbers_to(contact) {
            let Some(message) = self.outbox.get(number) else { continue };
            let is_stuck = message.envelope.is_some() && message.state == MessageState::Queued;
            if goes_by_itself.contains(&message.content_type) || is_stuck {
                self.withdraw(turn, number)?;
            }
        }
        Ok(())
    }

    /// A contact's key cannot be trusted as before: nothing is said to them until the person has decided. What was
    /// decided once is not asked again.
    pub(super) fn doubt(&mut self, contact: u32, doubt: Doubt) {
        let Some(record) = self.people.get(contact) else { return };
        if record.tie.is_settled || record.tie.doubt.is_some() {
            return;
        }
        let address = record.address;
        self.change_contact(contact, |record| {
            (record.tie.doubt, record.compared_at) = (Some(doubt), None);
        });
        self.promise_event(Event::Doubted { contact: address, doubt });
    }

    /// The person goes on with the key that a contact has.
    pub(super) fn trust(&mut self, turn: Turn<'_>, address: &Address) -> Result<Contact, Refusal> {
        let contact = self.number_of_present(address)?;
        let has_doubt = self.people.get(contact).is_some_and(|record| record.tie.doubt.is_some());
        if !has_doubt {
            return Err(CommandError::NoDoubt(*address).into());
        }
        self.change_contact(contact, |record| {
            (record.tie.doubt, record.tie.is_settled) = (None, true);
        });
        // What waited for the decision leaves.
        self.advance_contact(turn, contact)?;
        Ok(self.contact(address).ok_or(CommandError::NoContact(*address))?)
    }

    /// Whether anything may be said to a contact, as far as keys go.
    pub(super) fn check_keys(&self, record: &ContactRecord) -> Result<(), CommandError> {
        match (self.succeeding.replaced, record.tie.doubt) {
            (Some(by), _) => Err(CommandError::Replaced(by)),
            (None, Some(_)) => Err(CommandError::Doubted(record.address)),
            (None, None) => Ok(()),
        }
    }

    /// Whether nobody has left the key with this address, or they were let in under it: a thief may have it, to whom
    /// nothing is said by mistake.
    pub(super) fn check_not_left(&self, address: Address) -> Result<(), CommandError> {
        let now = self.people.who_had(|key| key.address() == address);
        match now.filter(|_| self.number_of_present(&address).is_err()) {
            Some((_, record)) => Err(CommandError::Moved { former: address, now: record.address }),
            None => Ok(()),
        }
    }

    /// Whether nothing can be said to a contact, as far as keys go.
    pub(super) fn is_silenced(&self, contact: u32) -> bool {
        self.people.get(contact).is_some_and(|record| self.check_keys(record).is_err())
    }

    /// Tells those who do not know yet that our key is another one. One letter to each is on its way at a time, and
    /// the next leaves when its time is over unread.
    pub(super) fn tell_lineage(&mut self, turn: Turn<'_>) {
        let Some(lineage) = &self.succeeding.lineage else { return };
        let body = lineage.to_bytes();
        let told = self.outbox.of_type(ContentType::SUCCESSION);
        let owed: Vec<_> = self.people.owed().filter(|contact| !told.contains(contact)).collect();
        for contact in owed {
            if self.check_outbox(TTL_MAX).is_err() {
                return;
            }
            let (content_type, body) = (ContentType::SUCCESSION, body.clone());
            let content = Content::Other { content_type, body };
            if let Ok(sent) = self.prepare(turn, contact, content, TTL_MAX) {
                self.launch(turn, sent);
            }
        }
    }

    /// Whether our key came from another.
    pub(super) const fn has_lineage(&self) -> bool {
        self.succeeding.lineage.is_some()
    }

    /// They know it, and whose profile they are told.
    pub(super) fn note_told(&mut self, turn: Turn<'_>, contact: u32) {
        self.change_contact(contact, |record| record.tie.is_owed = false);
        self.tell_profile(turn);
    }

    /// Whether a message may leave: of those of a replaced key, what had not left stands as taken back under the new one.
    pub(super) fn may_leave(&self, message: &Outgoing) -> bool {
        self.succeeding.replaced.is_none() || message.state > MessageState::Queued
    }

    /// What happened stands in the conversation, where it happened.
    fn write_succession(&mut self, contact: u32, letter: &Letter) {
        let content_type = letter.payload.content_type;
        let body = letter.payload.body.clone();
        let mut entry =
            super::inbox::entry_of(letter.clone(), Content::Other { content_type, body });
        entry.author = Author::Them { missing_before: 0, place: Place::InTurn };
        self.write_entry(contact, &entry);
        // Also who does not hear of it now finds that there is something to look at.
        self.note_unread(contact, &entry);
    }
}

/// Whether a letter says how its author's key came about, as it has to.
pub(super) fn read_letter(payload: &Payload) -> Option<Lineage> {
    let is_one = payload.content_type == ContentType::SUCCESSION;
    is_one.then(|| Lineage::from_bytes(&payload.body)).flatten()
}

/// That the store of `old` becomes one of `new`.
#[derive(Debug)]
pub struct Handover {
    /// What is different in the store of `new`, to be applied to all that the store of `old` has.
    pub writes: Vec<Write<Drawer>>,
    /// What is to be written into the store of `old` before the other has its place: from then on nothing is said in its
    /// name, and it has this successor and no other, whatever ends the handover. The same handover goes on then.
    pub farewell: Write<Drawer>,
    /// What is to be written into the store of `old` once the other has its place: it is not made a second time.
    pub done: Write<Drawer>,
    /// Whether this goes on with one that was broken off.
    pub is_resumed: bool,
    /// How many contacts will be told.
    pub to_tell: usize,
    /// Of how many rooms `old` is the owner, which nobody can become in its place (PROTOCOL §4.15).
    pub owned_rooms: usize,
}

impl Handover {
    /// Whether a store of `new` was made by this handover: it has the same word of who went before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_made(&self, store: &dyn Store<Drawer>) -> Result<bool, StoreError> {
        let lineage = store.get(Drawer::Meta, LINEAGE)?;
        Ok(matches!(&self.farewell, Write::Put { value, .. } if lineage.as_ref() == Some(value)))
    }
}

/// Why there is no [`Handover`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// It was replaced before.
    #[error(
        "this identity is replaced by {0} already; a second successor would be taken for a thief's"
    )]
    Replaced(Address),
    /// Both are the same.
    #[error("the new identity is the old one")]
    Same,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What makes the store of `old` one of `new`, signed by both. Contacts, history and what is held stay; what was on its
/// way stays with the old key, as do the prekeys, and every contact to whom the person turned is to be told. What was
/// begun and broken off goes on with the word that was signed then.
///
/// # Errors
/// When `old` has a successor that is another or has its store, both are one, or the store cannot be read.
pub fn hand_over(
    store: &dyn Store<Drawer>,
    old: &Identity,
    new: &Identity,
    now: Time,
) -> Result<Handover, HandoverError> {
    let turn = Turn { store, now };
    if let Some(known) = read_lineage(store, REPLACED)? {
        return Err(HandoverError::Replaced(known.newest().address()));
    }
    let begun = read_lineage(store, REPLACING)?;
    let is_resumed = begun.is_some();
    let lineage = match begun {
        Some(begun) if begun.newest() == new.public() => begun,
        Some(begun) => return Err(HandoverError::Replaced(begun.newest().address())),
        None => {
            let next = Succession::sign(old.key(), new.key(), now).ok_or(HandoverError::Same)?;
            Lineage::continued(read_lineage(store, LINEAGE)?, next)
        }
    }
    .to_bytes();
    let (table, put) = (Drawer::Meta, |name: &[u8]| Write::Put {
        table: Drawer::Meta,
        key: name.to_vec(),
        value: lineage.clone(),
    });
    // Of the new key neither is true.
    let gone = [cards::PREKEYS, REPLACED, REPLACING].map(<[u8]>::to_vec);
    let mut writes = vec![put(LINEAGE)];
    writes.extend(gone.map(|key| Write::Delete { table, key }));
    leave_outbox(turn, &mut writes)?;
    leave_rooms(turn, &mut writes)?;
    let to_tell = owe_everybody(turn, new.address(), &mut writes)?;
    // They are only counted: a room that cannot be read keeps nobody from leaving a stolen key.
    let owned_rooms = Rooms::read(turn, old.key()).map_or(0, |rooms| rooms.owned_by(old.public()));
    let (farewell, done) = (put(REPLACING), put(REPLACED));
    Ok(Handover { writes, farewell, done, is_resumed, to_tell, owned_rooms })
}

/// What was on its way goes on under the old key, if at all. What had not left, as far as is known, is taken back here; how
/// far the rest comes nobody learns here.
fn leave_outbox(turn: Turn<'_>, writes: &mut Vec<Write<Drawer>>) -> Result<(), StoreError> {
    for (row, value) in read_all(turn, Drawer::Outbox)? {
        let message = Outgoing::from_bytes(&value)?;
        let number = row.last_chunk().ok_or(StoreError::Damaged("outbox"))?;
        let number = MessageNumber(u64::from_be_bytes(*number));
        let place = key(message.contact, number.0);
        writes.push(Write::Delete { table: Drawer::Outbox, key: row });
        if message.state > MessageState::Queued {
            continue;
        }
        let Some(value) = turn.store.get(Drawer::History, &place)? else { continue };
        let mut entry = entry_from_bytes(number, &value)?;
        if let Author::Us { state, .. } = &mut entry.author {
            *state = MessageState::Cancelled;
            entry.steps.note(MessageState::Cancelled, turn.now);
        }
        let value = entry_to_bytes(&entry);
        writes.push(Write::Put { table: Drawer::History, key: place, value });
    }
    Ok(())
}

/// Rooms know the old key alone: whoever has let that in is to let the new one in. Files that were under way have to be
/// offered again.
fn leave_rooms(turn: Turn<'_>, writes: &mut Vec<Write<Drawer>>) -> Result<(), StoreError> {
    for (row, _) in read_all(turn, Drawer::Rooms)? {
        // What is said there; seats stand behind the rooms that they belong to.
        let Ok(number) = <[u8; 4]>::try_from(&row[..]) else { continue };
        let next = u32::from_be_bytes(number).saturating_add(1).to_be_bytes();
        let (table, from, to) = (Drawer::History, number.to_vec(), next.to_vec());
        writes.push(Write::DeleteRange { table, from, to });
    }
    for table in Drawer::OF_ROOMS.into_iter().chain(Drawer::OF_FILES) {
        writes.push(Write::DeleteRange { table, from: Vec::new(), to: HIGHEST.to_vec() });
    }
    Ok(())
}

/// Everybody to whom the person turned is to be told, and is to be compared with anew: both numbers are others. So is,
/// once they are let in, whoever is blocked or asks today. Whoever has become us is nobody else any more.
fn owe_everybody(
    turn: Turn<'_>,
    ours: Address,
    writes: &mut Vec<Write<Drawer>>,
) -> Result<usize, StoreError> {
    let mut to_tell = 0;
    for (row, value) in read_all(turn, Drawer::Contacts)? {
        let mut record = ContactRecord::from_bytes(&value)?;
        if record.address == ours {
            forget_row(row, writes);
            continue;
        }
        (record.established, record.compared_at, record.is_fellow) = (false, None, false);
        if record.removed_at.is_none() {
            let tie = turn.store.get(Drawer::Ties, &row)?;
            let tie = tie.map(|tie| Tie::from_bytes(&tie)).transpose()?;
            let mut tie = tie.unwrap_or_default();
            // Whoever has the old key may have told them since who we are.
            (tie.is_owed, tie.told_profile) = (true, None);
            let value = tie.to_bytes();
            writes.push(Write::Put { table: Drawer::Ties, key: row.clone(), value });
        }
        to_tell += usize::from(record.is_chosen());
        let value = record.to_bytes();
        writes.push(Write::Put { table: Drawer::Contacts, key: row, value });
    }
    Ok(to_tell)
}

/// Takes a contact out of a store, and all that was said with them.
fn forget_row(row: Vec<u8>, writes: &mut Vec<Write<Drawer>>) {
    let Ok(number) = <[u8; 4]>::try_from(&row[..]) else { return };
    let next = u32::from_be_bytes(number).saturating_add(1).to_be_bytes();
    let of_people = [Drawer::Contacts, Drawer::Ties];
    for table in Drawer::OF_CONVERSATIONS.into_iter().chain(of_people) {
        let (from, to) = (number.to_vec(), next.to_vec());
        writes.push(Write::DeleteRange { table, from, to });
    }
}

fn read_lineage(store: &dyn Store<Drawer>, name: &[u8]) -> Result<Option<Lineage>, StoreError> {
    let Some(bytes) = store.get(Drawer::Meta, name)? else { return Ok(None) };
    Lineage::from_bytes(&bytes).map(Some).ok_or(StoreError::Damaged("meta"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Command, CommandId, Input, Output};
    use crate::card::{Card, InboxPolicy};
    use crate::envelope::SizeClass;
    use crate::prekey::PrekeyRing;
    use crate::store::MemoryStore;
    use crate::time::Span;
    use crate::verified::Verified;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    const NOW: Time = Time::from_millis(1_760_000_000_000);

    fn card(owner: &Identity) -> Box<Verified<Card>> {
        let (mut ring, mut rng) = (PrekeyRing::new(), ChaCha12Rng::from_seed([1; 32]));
        ring.rotate(&mut rng, NOW);
        let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
        let prekeys = ring.current(NOW).into_iter().collect();
        Box::new(Card::sign(owner.key(), prekeys, policy, NOW, NOW + Span::DAY).unwrap())
    }

    fn drain(agent: &mut Agent, store: &mut MemoryStore<Drawer>) -> Vec<Output> {
        let mut outputs = Vec::new();
        loop {
            let mut durable = None;
            while let Some(output) = agent.poll_output() {
                if let Output::Write(batch) = &output {
                    store.apply(batch);
                    durable = Some(batch.seq);
                }
                outputs.push(output);
            }
            let Some(seq) = durable else { return outputs };
            agent.handle(Input::Durable(seq), store, NOW).unwrap();
        }
    }

    fn say(
        agent: &mut Agent,
        store: &mut MemoryStore<Drawer>,
        command: Command,
    ) -> Option<CommandError> {
        agent.handle(Input::Command { id: CommandId(1), command }, store, NOW).unwrap();
        let done = drain(agent, store).into_iter().find_map(|output| match output {
            Output::Done { result, .. } => Some(result.err()),
            _ => None,
        });
        done.unwrap()
    }

    /// Else whoever was only let in could have a relay collect for us that changes.
    #[test]
    fn what_goes_by_itself_makes_nobody_sought() {
        let mut store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let address = Identity::from_seed(&[9; 32]).address();
        let contact = agent.know(Turn { store: &store, now: NOW }, address).unwrap();
        let kinds = [(ContentType::SUCCESSION, false), (ContentType::TEXT, true)];
        for (content_type, is_sought) in kinds.into_iter().chain([(ContentType::PROFILE, true)]) {
            let content = Content::Other { content_type, body: b"x".to_vec() };
            let turn = Turn { store: &store, now: NOW };
            agent.prepare(turn, contact, content, TTL_MAX).unwrap();
            agent.commit(turn);
            drain(&mut agent, &mut store);
            agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
            assert_eq!(
                agent.people.get(contact).unwrap().is_sought(),
                is_sought,
                "{content_type:?}"
            );
        }
    }

    /// A12. Two keys of one address cannot be made today, so the record is changed as a swap would leave it.
    #[test]
    fn a_contact_whose_key_was_swapped_is_said_nothing_until_the_person_decides() {
        let mut store = MemoryStore::new();
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        let (bob, other) = (Identity::from_seed(&[9; 32]), Identity::from_seed(&[8; 32]));
        let (address, turn) = (bob.address(), Turn { store: &store, now: NOW });
        let contact = agent.know(turn, address).unwrap();
        agent.change_contact(contact, |record| {
            (record.key, record.compared_at) = (Some(*other.public()), Some(NOW));
        });
        agent.on_card(turn, contact, Some(card(&bob))).unwrap();
        agent.commit(turn);
        let outputs = drain(&mut agent, &mut store);
        let doubted = Event::Doubted { contact: address, doubt: Doubt::OtherKey };
        assert!(outputs.contains(&Output::Event(doubted)), "{outputs:?}");
        let record = agent.people.get(contact).unwrap();
        assert!(record.card.is_none() && record.compared_at.is_none());
        let send = || Command::Send {
            to: address,
            content_type: ContentType::TEXT,
            body: b"x".to_vec(),
            ttl: Span::DAY,
        };
        assert_eq!(say(&mut agent, &mut store, send()), Some(CommandError::Doubted(address)));
        let link = Command::AddContact { name: "bob".into(), address, key: Some(*bob.public()) };
        assert_eq!(say(&mut agent, &mut store, link), Some(CommandError::WrongKey));
        // Also after a restart.
        let mut agent = Agent::new(Identity::from_seed(&[1; 32]), [2; 32], &store, NOW).unwrap();
        assert_eq!(say(&mut agent, &mut store, send()), Some(CommandError::Doubted(address)));
        assert_eq!(say(&mut agent, &mut store, Command::Trust(address)), None);
        assert_eq!(say(&mut agent, &mut store, send()), None);
    }
}
