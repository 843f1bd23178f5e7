//! What forgers know of mailboxes, and what they bring to those who still keep an envelope for its reader.

use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::verified::Verified;
use comm_proto::wire::object;

use super::{Letter, People};

impl People {
    /// A true acknowledgement of the same mailbox, as everybody saw it who kept an envelope that was read there
    /// before.
    pub(crate) fn acknowledged_before(&self, letter: Letter) -> Option<Verified<Acknowledgement>> {
        let one = self.letters.get(letter)?;
        let envelope = one.envelope.as_ref()?;
        let mut before = *envelope.id().as_bytes();
        before[0] ^= 0xff;
        let ids = vec![EnvelopeId::from_bytes(before)];
        let until = envelope.expires_at() + KEPT_AFTER_EXPIRY;
        Acknowledgement::sign(&one.mailbox, ids, until).ok()
    }

    /// Envelopes that an acknowledgement names with their mailbox's key before their reader has acknowledged
    /// them: it is forged, and nothing but its signature says so.
    pub(crate) fn unread(&self, told: &object::Acknowledgement) -> Vec<(Letter, EnvelopeId)> {
        let named = told.ids.iter().filter_map(|id| {
            let id = EnvelopeId::from_bytes(id.as_ref().try_into().ok()?);
            Some((*self.by_id.get(&id)?, id))
        });
        let is_unread = |(letter, _): &(Letter, EnvelopeId)| {
            let one = &self.letters[*letter];
            let is_owner = one.mailbox.public().as_bytes()[..] == told.mailbox_key[..];
            is_owner && one.copies.acknowledged().is_none()
        };
        named.filter(is_unread).collect()
    }

    /// Such a one has come to an honest host that has the envelope.
    pub(crate) fn forged(&mut self, letter: Letter) {
        self.letters[letter].fate.forged += 1;
    }

    /// When an envelope's time is over, if it was sent.
    pub(crate) fn expires_at(&self, letter: Letter) -> Option<comm_proto::time::Time> {
        self.letters[letter].envelope.as_ref().map(Envelope::expires_at)
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::key::KeyPair;
    use comm_proto::time::{Span, Time};

    use super::*;
    use crate::people::Deed;

    #[test]
    fn only_what_names_an_unread_envelope_with_its_mailboxs_key_is_a_forgery_that_counts() {
        let (mut people, key) = (People::default(), KeyPair::from_seed(&[1; 32]));
        let letter = people.write(0, 1, key.clone(), Span::HOUR);
        assert!(
            people.acknowledged_before(letter).is_none() && people.expires_at(letter).is_none()
        );
        people.act(Time::ZERO, letter, Deed::Submit);
        assert_eq!(people.expires_at(letter), Some(Time::ZERO + Span::HOUR));
        let before = people.acknowledged_before(letter).unwrap();
        let id = people.fate(letter).0.unwrap();
        assert!(before.mailbox() == key.address() && before.ids() != [id]);
        let mut lie = object::Acknowledgement::from(&*before);
        assert!(people.unread(&lie).is_empty(), "it is true");
        lie.ids.push(id.as_bytes().to_vec().into());
        assert_eq!(people.unread(&lie), [(letter, id)]);
        let strangers = KeyPair::from_seed(&[2; 32]).public().as_bytes().to_vec();
        let other = object::Acknowledgement { mailbox_key: strangers.into(), ..lie.clone() };
        assert!(people.unread(&other).is_empty());
        people.act(Time::ZERO, letter, Deed::Acknowledge);
        assert!(people.unread(&lie).is_empty(), "it was read");
    }
}
