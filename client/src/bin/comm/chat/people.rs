//! What lines want of who may write to us, and of links.

use comm_proto::address::Address;
use comm_proto::agent::{Comparison, Contact, Doubt};
use comm_proto::link::{ENTRIES_MAX, Link};
use comm_proto::profile::Profile;
use comm_proto::time::Time;

use super::{Chat, text};
use crate::acquaintance::{Acquaintance, DIGITS};
use crate::line::{PeopleLine, Who, Whose};
use crate::shown::Shown;

impl Chat {
    /// Of what was missed it may be that somebody has another name or key.
    pub(super) async fn after_lagging(&mut self, missed: u64) -> Shown {
        self.refresh_contacts().await;
        Shown::Lagged { missed }
    }

    pub(super) async fn obey_about_people(&mut self, line: PeopleLine) -> Result<Shown, String> {
        match line {
            PeopleLine::Requests => {
                let requests = self.client.requests().await.map_err(text)?;
                Ok(Acquaintance::Requests(requests).into())
            }
            PeopleLine::Accept { who, name } => self.accept(&who, name).await,
            PeopleLine::Refuse(who) => {
                let contact = self.asking(&who).await?;
                let (messages, until) = self.client.refuse(contact).await.map_err(text)?;
                Ok(Acquaintance::Refused { contact, messages, until }.into())
            }
            PeopleLine::RefuseAll => self.refuse_all().await,
            PeopleLine::Block(who) => self.block(&who).await,
            PeopleLine::Unblock(who) => self.unblock(&who).await,
            PeopleLine::Blocked => {
                let blocked = self.client.blocked().await.map_err(text)?;
                Ok(Acquaintance::AllBlocked(blocked).into())
            }
            PeopleLine::Verify(who) => self.verify(&who).await,
            PeopleLine::Compare { who, comparison } => self.compare(&who, comparison).await,
            PeopleLine::Profile => {
                Ok(Acquaintance::OwnProfile(self.client.profile().await.map_err(text)?).into())
            }
            PeopleLine::SetProfile { name, status } => {
                let profile = self.client.set_profile(&name, &status).await.map_err(text)?;
                Ok(Acquaintance::OwnProfile(Some(profile)).into())
            }
            PeopleLine::Trust(who) => {
                let address = self.find(&who).await?;
                let contact = self.client.trust(address).await.map_err(text)?;
                self.contacts.insert(address, contact.clone());
                Ok(Shown::Contact(contact))
            }
            PeopleLine::Link { name, entries, form } => {
                let entries = if entries { self.own_entries().await? } else { Vec::new() };
                let link = Link::new(self.client.key(), name, entries);
                let link = Box::new(link.map_err(|error| error.to_string())?);
                Ok(Acquaintance::Link { link, form }.into())
            }
            PeopleLine::Add { whose, name } => self.add(&whose, name).await,
        }
    }

    /// Makes a contact of the link that the program was started with; the chat begins either way.
    pub(crate) async fn follow(&mut self, link: &Link) {
        let added = self.add(&Whose::Link(Box::new(link.clone())), None).await;
        self.screen.show(&added.unwrap_or_else(Shown::Error)).await;
    }

    /// Whoever asked while the program was not running is shown first, if there is anybody.
    pub(super) async fn show_requests(&mut self) {
        match self.client.requests().await {
            Ok(requests) if !requests.is_empty() => {
                self.screen.show(&Acquaintance::Requests(requests).into()).await;
            }
            _ => {}
        }
    }

    /// Somebody new asks; whoever had been somebody else's key is shown as that.
    pub(super) async fn requested(&mut self, address: Address) -> Acquaintance {
        self.refresh_contacts().await;
        let had = |contact: &&Contact| contact.former.contains(&address);
        match self.contacts.values().find(had) {
            Some(contact) => Acquaintance::FormerAsks { address, name: contact.name.clone() },
            None => Acquaintance::Requested(address),
        }
    }

    /// Somebody has another key.
    pub(super) async fn moved(&mut self, to: Address, from: Address, at: Time) -> Acquaintance {
        self.contacts.remove(&from);
        self.introduced.remove(&from);
        let (name, contact, former, made_at) = (self.name(to).await, to, from, at);
        Acquaintance::Moved { name, contact, former, made_at }
    }

    /// Somebody says who they are.
    pub(super) async fn profiled(&mut self, contact: Address, profile: Profile) -> Acquaintance {
        self.contacts.remove(&contact);
        Acquaintance::Profiled { name: self.name(contact).await, contact, profile }
    }

    /// Somebody's key is in doubt.
    pub(super) async fn doubted(&mut self, contact: Address, doubt: Doubt) -> Acquaintance {
        self.contacts.remove(&contact);
        Acquaintance::Doubted { name: self.name(contact).await, contact, doubt }
    }

    async fn accept(&mut self, who: &Who, name: Option<String>) -> Result<Shown, String> {
        let address = self.asking(who).await?;
        let contact = self.client.accept(address, name).await.map_err(text)?;
        self.contacts.insert(address, contact.clone());
        Ok(Shown::Contact(contact))
    }

    async fn refuse_all(&mut self) -> Result<Shown, String> {
        let requests = self.client.requests().await.map_err(text)?;
        for request in &requests {
            self.client.refuse(request.address).await.map_err(text)?;
        }
        Ok(Acquaintance::AllRefused { people: requests.len() }.into())
    }

    async fn block(&mut self, who: &Who) -> Result<Shown, String> {
        let address = match self.find(who).await {
            Ok(address) => address,
            // Who asks has no name yet.
            Err(unknown) => self.asking(who).await.map_err(|_| unknown)?,
        };
        let contact = self.client.block(address).await.map_err(text)?;
        self.contacts.remove(&address);
        self.introduced.remove(&address);
        Ok(Acquaintance::Blocked(contact).into())
    }

    async fn unblock(&mut self, who: &Who) -> Result<Shown, String> {
        let contact = match who {
            Who::Address(address) => *address,
            Who::Name(name) => {
                let blocked = self.client.blocked().await.map_err(text)?;
                let found = blocked.iter().find(|contact| contact.name == *name);
                let unknown = || format!("nobody who is blocked is called {name}; see /blocked");
                found.ok_or_else(unknown)?.address
            }
        };
        let is_contact = self.client.unblock(contact).await.map_err(text)?;
        Ok(Acquaintance::Unblocked { contact, is_contact }.into())
    }

    async fn compare(&mut self, who: &Who, comparison: Comparison) -> Result<Shown, String> {
        let address = self.find(who).await?;
        let contact = self.client.compare(address, comparison).await.map_err(text)?;
        self.contacts.insert(address, contact.clone());
        Ok(Shown::Contact(contact))
    }

    /// Whoever has been given a name keeps it, unless the person gives them another; else they go by what the
    /// link says.
    async fn add(&mut self, whose: &Whose, name: Option<String>) -> Result<Shown, String> {
        let address = whose.address();
        let known = self.client.contact(address).await.map_err(text)?;
        let known = known.filter(|contact| contact.is_named).map(|contact| contact.name);
        let own = || whose.name().map(str::to_owned);
        let digits = || address.to_string()[..DIGITS].to_owned();
        let name = name.or(known).or_else(own).unwrap_or_else(digits);
        self.add_contact(&name, whose, None).await
    }

    /// Where our node can be found by others.
    async fn own_entries(&self) -> Result<Vec<String>, String> {
        let status = self.client.status().await.map_err(text)?;
        let places = status.endpoints.iter().filter(|place| !place.ip().is_unspecified());
        let entries: Vec<_> = places.take(ENTRIES_MAX).map(ToString::to_string).collect();
        if entries.is_empty() {
            return Err(
                "your node has no place that others could reach; leave entries out".to_owned()
            );
        }
        Ok(entries)
    }

    /// Whoever asks and has this address, or one that begins so as nobody else's does who asks.
    async fn asking(&self, who: &Who) -> Result<Address, String> {
        let word = match who {
            Who::Address(address) => return Ok(*address),
            Who::Name(word) => word.to_ascii_lowercase(),
        };
        let requests = self.client.requests().await.map_err(text)?;
        let all = requests.iter().map(|request| request.address);
        let mut found = all.filter(|address| address.to_string().starts_with(&word));
        match (found.next(), found.next()) {
            (Some(address), None) if word.len() >= DIGITS => Ok(address),
            (Some(_), _) => Err(format!(
                "{word} is not enough to tell who is meant; give the whole address, see /requests"
            )),
            (None, _) => Err(format!("nobody who asks has an address that begins with {word}")),
        }
    }
}
