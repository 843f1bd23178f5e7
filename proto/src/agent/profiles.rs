//! What people say of themselves: ours, which contacts are told, and theirs, which we show (PROTOCOL §4.22).
//!
//! Of two profiles of one person the later counts. One that is dated ahead of our clock is not taken at all, so that no
//! date stands against what its owner says next.

use crate::content::Content;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::key::PublicKey;
use crate::payload::{ContentType, Payload};
use crate::profile::Profile;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{CommandError, Drawer, Event, Refusal};
use super::records::ContactRecord;
use super::{Agent, Turn};

/// Where our own is kept.
const PROFILE: &[u8] = b"profile";

/// Reads our own.
pub(super) fn read_own(turn: Turn<'_>) -> Result<Option<Profile>, StoreError> {
    let Some(bytes) = turn.store.get(Drawer::Meta, PROFILE)? else { return Ok(None) };
    Profile::from_bytes(&bytes).map(Some).ok_or(StoreError::Damaged("meta"))
}

/// What a letter says of its author, if it is of this kind and signed by them.
pub(super) fn read_profile(author: &PublicKey, payload: &Payload) -> Option<Profile> {
    let is_one = payload.content_type == ContentType::PROFILE;
    is_one.then(|| Profile::verify(&payload.body, author)).flatten()
}

/// Whether it is dated so far ahead that nobody takes it yet.
pub(super) fn is_ahead(profile: &Profile, now: Time) -> bool {
    profile.made_at() > now + CLOCK_TOLERANCE
}

impl Agent {
    /// What we say of ourselves, if we ever did.
    pub const fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Says of ourselves who we are from now on; contacts to whom we wrote, or gave a name, and who have
    /// written are told.
    pub(super) fn set_profile(
        &mut self,
        turn: Turn<'_>,
        name: &str,
        status: &str,
    ) -> Result<Profile, Refusal> {
        let made_at = self.next_date(turn.now);
        let profile = Profile::new(name, status, made_at).map_err(CommandError::Profile)?;
        self.keep_profile(turn, profile.clone())?;
        self.tell_profile(turn);
        Ok(profile)
    }

    /// Nobody takes what a clock that was wrong has dated ahead: it is dated anew.
    pub(super) fn redate_profile(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let ahead = |profile: &&Profile| is_ahead(profile, turn.now);
        let Some(profile) = self.profile.as_ref().filter(ahead) else { return Ok(()) };
        let again = Profile::new(profile.name().unwrap_or_default(), profile.status(), turn.now);
        again.map_or(Ok(()), |again| self.keep_profile(turn, again))
    }

    /// Tells those who do not know our profile. One letter to each is on its way at a time.
    pub(super) fn tell_profile(&mut self, turn: Turn<'_>) {
        let Some(profile) = self.profile.clone().filter(|_| self.node.is_some()) else { return };
        let body = profile.sign(self.identity.key());
        let on_their_way = self.outbox.of_type(ContentType::PROFILE);
        let has_moved = self.has_lineage();
        let is_told = |record: &ContactRecord| record.tie.told_profile == Some(profile.made_at());
        let untold: Vec<_> = self
            .people
            .acquainted()
            .filter(|(number, record)| !is_told(record) && !on_their_way.contains(number))
            // Before they know that our key is another one it would be a stranger's.
            .filter(|(_, record)| !(has_moved && record.tie.is_owed))
            .map(|(number, _)| number)
            .collect();
        for contact in untold {
            if self.check_outbox(TTL_MAX).is_err() {
                return;
            }
            let (content_type, body) = (ContentType::PROFILE, body.clone());
            let content = Content::Other { content_type, body };
            if let Ok(sent) = self.prepare(turn, contact, content, TTL_MAX) {
                self.launch(turn, sent);
            }
        }
    }

    /// They have what this body says.
    pub(super) fn note_profile_told(&mut self, contact: u32, body: &[u8]) {
        let Some(profile) = Profile::verify(body, self.identity.public()) else { return };
        self.change_contact(contact, |record| record.tie.told_profile = Some(profile.made_at()));
    }

    /// A contact says who they are.
    pub(super) fn on_profile(&mut self, turn: Turn<'_>, contact: u32, profile: Profile) {
        let Some(record) = self.people.get(contact) else { return };
        let known = record.tie.profile.as_ref();
        if is_ahead(&profile, turn.now)
            || known.is_some_and(|known| known.made_at() >= profile.made_at())
        {
            return;
        }
        let address = record.address;
        self.change_contact(contact, |record| record.tie.profile = Some(profile.clone()));
        self.promise_event(Event::Profiled { contact: address, profile });
    }

    /// Later than the last, unless that was dated ahead, which nobody has taken.
    fn next_date(&self, now: Time) -> Time {
        let last = self.profile.as_ref().map(Profile::made_at);
        let last = last.filter(|last| *last <= now + CLOCK_TOLERANCE);
        last.map_or(now, |last| now.max(last + Span::from_millis(1)))
    }

    /// Letters with the one before are taken back as far as they can be.
    fn keep_profile(&mut self, turn: Turn<'_>, profile: Profile) -> Result<(), StoreError> {
        for number in self.outbox.numbers_of_type(ContentType::PROFILE) {
            self.withdraw(turn, number)?;
        }
        self.journal.put(Drawer::Meta, PROFILE.to_vec(), profile.to_bytes());
        self.profile = Some(profile);
        Ok(())
    }
}
