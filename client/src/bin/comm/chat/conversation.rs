//! What lines want of whole conversations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comm_proto::address::Address;
use comm_proto::agent::{Author, Entry, MessageNumber, Place, ReceiptRule, Summary, Words};
use comm_proto::payload::ContentType;
use comm_proto::time::Span;

use super::{Chat, Displayed, text};
use crate::export;
use crate::line::{Origin, Who};
use crate::shown::{Shown, Talk};

/// Messages that a search shows.
const FOUND_MAX: usize = 50;

impl Chat {
    pub(super) async fn conversations(&mut self) -> Result<Shown, String> {
        let mut all = Vec::new();
        for Summary { contact, last } in self.client.summaries().await.map_err(text)? {
            let said = match last {
                Some(entry) => Some(self.said(entry).await),
                None => None,
            };
            all.push((contact, said));
        }
        Ok(Talk::Conversations(all).into())
    }

    /// The newest of all conversations, the oldest of these first.
    pub(super) async fn search(&mut self, words: &Words) -> Result<Shown, String> {
        let mut entries = Vec::new();
        for contact in self.client.contacts().await.map_err(text)? {
            let found = self.client.search(contact.address, words, FOUND_MAX).await;
            entries.extend(found.map_err(text)?);
            entries.sort_by_key(place);
            let surplus = entries.len().saturating_sub(FOUND_MAX);
            entries.drain(..surplus);
        }
        let mut found = Vec::new();
        for entry in entries {
            found.push(self.said(entry).await);
        }
        Ok(Talk::Found(found).into())
    }

    /// Begins to write a conversation to a file; the chat goes on meanwhile.
    pub(super) async fn export(&mut self, who: &Who, file: PathBuf) -> Result<(), String> {
        let contact = self.find(who).await?;
        let order = export::Order { name: self.name(contact).await, contact, file };
        let pages = self.client.pages(contact);
        self.copies.spawn(async {
            let exported = export::export(order, pages).await;
            exported.unwrap_or_else(Shown::Error)
        });
        Ok(())
    }

    pub(super) async fn receipts(&mut self, of: Option<&Who>) -> Result<Shown, String> {
        let Some(of) = of else {
            let rule = self.client.receipts_for_all().await.map_err(text)?;
            return Ok(Talk::Receipts { of: None, rule }.into());
        };
        let address = self.find(of).await?;
        self.refresh_contacts().await;
        let rule = self.contact(address).await.map_or(ReceiptRule::AsForAll, |one| one.receipts);
        Ok(Talk::Receipts { of: Some((self.name(address).await, address)), rule }.into())
    }

    pub(super) async fn set_receipts(
        &mut self,
        of: Option<&Who>,
        rule: ReceiptRule,
    ) -> Result<Shown, String> {
        let of = match of {
            Some(who) => Some(self.find(who).await?),
            None => None,
        };
        let rule = self.client.set_receipts(of, rule).await.map_err(text)?;
        let of = match of {
            Some(address) => Some((self.name(address).await, address)),
            None => None,
        };
        Ok(Talk::Receipts { of, rule }.into())
    }

    pub(super) async fn history(
        &mut self,
        who: Option<&Who>,
        count: usize,
    ) -> Result<Shown, String> {
        let contacts = match who {
            Some(who) => vec![self.find(who).await?],
            None => {
                let contacts = self.client.contacts().await.map_err(text)?;
                contacts.into_iter().map(|contact| contact.address).collect()
            }
        };
        let mut entries = Vec::new();
        for contact in contacts {
            entries.extend(self.client.history(contact, None, count).await.map_err(text)?);
            // Stable: late messages of one person stay in their order.
            entries.sort_by_key(place);
            let surplus = entries.len().saturating_sub(count);
            entries.drain(..surplus);
        }
        let mut read: BTreeMap<Address, Vec<MessageNumber>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| matches!(entry.author, Author::Them { .. })) {
            read.entry(entry.contact).or_default().push(entry.number);
        }
        let mut said = Vec::new();
        for entry in entries {
            said.push(self.said(entry).await);
        }
        let read = read.into_iter();
        self.to_be_printed.extend(read.map(|(of, numbers)| Displayed::Messages(of, numbers)));
        Ok(Talk::History(said).into())
    }

    /// A text as a text of ours: whoever gets it sees nothing of where it comes from, unless it is named.
    pub(super) async fn forward(
        &mut self,
        number: MessageNumber,
        to: &Who,
        origin: Origin,
    ) -> Result<Shown, String> {
        let entry = self.client.message(number).await.map_err(text)?;
        let entry = entry.ok_or_else(|| format!("there is no message #{}", number.0))?;
        if entry.marks.disappears_at.is_some() {
            return Err(format!("#{} is to disappear; it is not passed on", number.0));
        }
        let is_text = entry.content_type == ContentType::TEXT && entry.marks.deleted_at.is_none();
        let said = String::from_utf8(entry.body.clone()).ok().filter(|_| is_text);
        let said = said.ok_or_else(|| format!("#{} is no text", number.0))?;
        let author = match entry.author {
            Author::Us { .. } => self.client.address(),
            Author::Them { .. } => entry.contact,
        };
        match origin {
            Origin::Hidden => self.send(to, said).await,
            Origin::Named => self.send(to, format!("{author} wrote:\n{said}")).await,
        }
    }

    pub(super) async fn timer(&mut self, who: &Who) -> Result<Shown, String> {
        let contact = self.find(who).await?;
        // The other side may have set it since they became a contact.
        self.refresh_contacts().await;
        let lifetime = self.contact(contact).await.and_then(|contact| contact.lifetime);
        Ok(Talk::Timer { name: self.name(contact).await, contact, lifetime }.into())
    }

    pub(super) async fn set_timer(
        &mut self,
        who: &Who,
        lifetime: Option<Span>,
    ) -> Result<Shown, String> {
        let contact = self.find(who).await?;
        let entry = self.client.set_timer(contact, lifetime, self.ttl).await.map_err(text)?;
        self.staying.insert(entry.number);
        Ok(Talk::Queued(self.said(entry).await).into())
    }

    pub(super) async fn mute(&mut self, who: &Who, muted: bool) -> Result<Shown, String> {
        let address = self.find(who).await?;
        let contact = self.client.mute(address, muted).await.map_err(text)?;
        self.contacts.insert(address, contact.clone());
        Ok(Shown::Contact(contact))
    }
}

/// Where an entry belongs among those of all people: a late one directly before the one that showed
/// that it was missing.
fn place(entry: &Entry) -> (MessageNumber, bool) {
    match entry.author {
        Author::Them { place: Place::Before(later), .. } => (later, false),
        _ => (entry.number, true),
    }
}
