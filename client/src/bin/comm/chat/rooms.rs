//! What lines want of rooms, and what happens there.

use comm::Message;
use comm_proto::address::Address;
use comm_proto::agent::{
    MessageNumber, MessageState, Room, RoomChange, RoomEvent, RoomLine, RoomMember,
};
use comm_proto::room::{Change, RoomId};

use super::{Chat, Displayed, text};
use crate::line::Who;
use crate::room_order::RoomOrder;
use crate::rooming::{Changed, DIGITS, Named, RoomSaid, Rooming, handle};
use crate::shown::Shown;

/// Lines that a search shows.
const FOUND_MAX: usize = 50;

impl Chat {
    pub(super) async fn obey_about_rooms(&mut self, order: RoomOrder) -> Result<Shown, String> {
        let rooming = match order {
            RoomOrder::Rooms => Rooming::Rooms(self.client.rooms().await.map_err(text)?),
            RoomOrder::Create(name) => {
                Rooming::Room(self.client.create_room(name).await.map_err(text)?)
            }
            RoomOrder::Join(invitation) => {
                Rooming::Room(self.client.join(*invitation).await.map_err(text)?)
            }
            RoomOrder::Invite { room, who, lifetime } => {
                return self.invite(&room, who, lifetime).await;
            }
            RoomOrder::Members(room) => {
                let room = self.room_called(&room).await?;
                let members = self.client.room_members(room.id).await.map_err(text)?;
                Rooming::Members { room, members }
            }
            RoomOrder::History { room, count } => return self.room_history(&room, count).await,
            RoomOrder::Search { room, words } => {
                let room = self.room_called(&room).await?;
                let found = self.client.search_room(room.id, &words, FOUND_MAX).await;
                Rooming::Found(self.said_in(&room, found.map_err(text)?).await)
            }
            RoomOrder::Invitations(room) => self.invitations(&room).await?,
            RoomOrder::Forget(room) => {
                let room = self.room_called(&room).await?;
                self.client.forget_room(room.id).await.map_err(text)?;
                Rooming::Forgotten(room.id)
            }
            change => {
                let (room, change) = self.change_of(change).await?;
                Rooming::Room(self.client.change_room(room, change).await.map_err(text)?)
            }
        };
        Ok(rooming.into())
    }

    async fn change_of(&mut self, order: RoomOrder) -> Result<(RoomId, RoomChange), String> {
        let (room, change) = match order {
            RoomOrder::Rename { room, name } => (room, RoomChange::Rename(name)),
            RoomOrder::Role { room, who, role } => {
                let member = self.member_called(&room, &who).await?;
                (room, RoomChange::Appoint { member, role })
            }
            RoomOrder::Remove { room, who } => {
                let member = self.member_called(&room, &who).await?;
                (room, RoomChange::Remove(member))
            }
            RoomOrder::Decide { room, policy } => (room, RoomChange::Decide(policy)),
            RoomOrder::Revoke { room, token } => {
                let known = self.room_called(&room).await?;
                let all = self.client.room_invitations(known.id).await.map_err(text)?;
                let mut found = all.iter().filter(|one| one.token.to_string().starts_with(&token));
                let (Some(one), None) = (found.next(), found.next()) else {
                    return Err(format!(
                        "no one invitation into {room} begins with {token}; see /room invitations {room}"
                    ));
                };
                (room, RoomChange::Revoke(one.token))
            }
            RoomOrder::Leave(room) => (room, RoomChange::Leave),
            _ => return Err("this changes no room".to_owned()),
        };
        Ok((self.room_called(&room).await?.id, change))
    }

    /// An invitation, which is sent to somebody if the person says to whom.
    async fn invite(
        &mut self,
        room: &str,
        who: Option<String>,
        lifetime: comm_proto::time::Span,
    ) -> Result<Shown, String> {
        let room = self.room_called(room).await?;
        let to = match who {
            Some(who) => Some(self.find(&who.parse().map_or(Who::Name(who), Who::Address)).await?),
            None => None,
        };
        let invited = self.client.invite(room.id, lifetime).await.map_err(text)?;
        let sent_to = match to {
            Some(to) => {
                let message =
                    Message { ttl: self.ttl, ..Message::text(to, invited.text().to_string()) };
                let entry = self.client.send(message).await.map_err(text)?;
                self.staying.insert(entry.number);
                Some(self.named_person(to).await)
            }
            None => None,
        };
        let invitation = Box::new(invited);
        Ok(Rooming::Invited { room, invitation, sent_to }.into())
    }

    async fn invitations(&mut self, room: &str) -> Result<Rooming, String> {
        let room = self.room_called(room).await?;
        let mut invitations = Vec::new();
        for invitation in self.client.room_invitations(room.id).await.map_err(text)? {
            let by = self.named_here(invitation.by).await;
            invitations.push((invitation, by));
        }
        Ok(Rooming::Invitations { room, invitations })
    }

    async fn room_history(&mut self, room: &str, count: usize) -> Result<Shown, String> {
        let room = self.room_called(room).await?;
        let lines = self.client.room_history(room.id, None, count).await.map_err(text)?;
        let said = self.said_in(&room, lines).await;
        self.to_be_printed.push(Displayed::Room(room.id));
        Ok(Rooming::History(said).into())
    }

    /// Says something to whoever is meant: a contact, a room, or somebody who is in a room with us.
    pub(super) async fn say_to(
        &mut self,
        to: &Who,
        message: &str,
    ) -> Result<Result<Address, Shown>, String> {
        let unknown = match self.find(to).await {
            Ok(address) => return Ok(Ok(address)),
            Err(unknown) => unknown,
        };
        let Who::Name(name) = to else { return Err(unknown) };
        // Whoever names a room chooses its name, and may choose somebody's digits.
        let is_digits = name.len() >= DIGITS && name.bytes().all(|one| one.is_ascii_hexdigit());
        let member = if is_digits { self.member_anywhere(name).await } else { None };
        if let Some(member) = member {
            return Ok(Ok(member));
        }
        match self.room_called(name).await {
            Ok(room) => self.say_in(room.id, message.to_owned(), None).await.map(Err),
            Err(ambiguous) if ambiguous.starts_with("several") => Err(ambiguous),
            Err(_) => self.member_anywhere(name).await.map(Ok).ok_or(unknown),
        }
    }

    async fn say_in(
        &mut self,
        room: RoomId,
        message: String,
        answers: Option<MessageNumber>,
    ) -> Result<Shown, String> {
        let line = self.client.say(room, message, answers, self.ttl).await.map_err(text)?;
        if !line.deliveries.is_empty() {
            self.staying.insert(line.entry.number);
        }
        let room = self.room_of(room).await?;
        Ok(Rooming::Queued(self.said_of(&room, line).await).into())
    }

    /// Answers a line of a room, if the number is one's.
    pub(super) async fn reply_in_room(
        &mut self,
        to: MessageNumber,
        answer: &str,
    ) -> Result<Option<Shown>, String> {
        match self.client.room_line(to).await.map_err(text)? {
            Some(line) => self.say_in(line.room, answer.to_owned(), Some(to)).await.map(Some),
            None => Ok(None),
        }
    }

    /// All that is known of a line of a room, if the number is one's.
    pub(super) async fn room_line(
        &mut self,
        number: MessageNumber,
    ) -> Result<Option<Shown>, String> {
        let Some(line) = self.client.room_line(number).await.map_err(text)? else {
            return Ok(None);
        };
        let room = self.room_of(line.room).await?;
        let mut deliveries = Vec::new();
        for delivery in &line.deliveries {
            deliveries.push((self.named_here(delivery.member).await, delivery.state));
        }
        let said = self.said_of(&room, line).await;
        Ok(Some(Rooming::Line { said, deliveries }.into()))
    }

    /// What has happened in a room; nothing, if it is not worth a line.
    pub(super) async fn room_news(&mut self, event: &RoomEvent) -> Option<Shown> {
        let rooming = match event {
            RoomEvent::Said(line) => {
                let room = self.room_of(line.room).await.ok()?;
                Rooming::Said(self.said_of(&room, RoomLine::clone(line)).await)
            }
            RoomEvent::Delivery { room, line, member, state } => {
                self.note_room_state(*line).await;
                let is_step =
                    !matches!(state, MessageState::Delivered { .. } | MessageState::Expired);
                if is_step && !self.screen.is_for_programs() {
                    return None;
                }
                let room = self.room_of(*room).await.ok()?;
                let member = self.named_here(*member).await;
                Rooming::Delivery { room, line: *line, member, state: *state }
            }
            RoomEvent::Joined(room) => Rooming::Joined(room.clone()),
            RoomEvent::NotLetIn { room, by, reason } => {
                Rooming::NotLetIn { room: *room, by: self.named_person(*by).await, reason: *reason }
            }
            RoomEvent::Changed { room, by, change } => {
                // What we did ourselves has been answered.
                if *by == self.client.address() && !matches!(**change, Change::Admit(_)) {
                    return None;
                }
                let by = if *by == self.client.address() {
                    Named { name: "your program".to_owned(), address: *by }
                } else {
                    self.named_here(*by).await
                };
                let about = match about(change) {
                    Some(address) => Some(self.named_here(address).await),
                    None => None,
                };
                let change = Changed { change: change.clone(), about };
                Rooming::Changed { room: room.clone(), by, change }
            }
            RoomEvent::Forked { room, by } => {
                let room = self.room_of(*room).await.ok()?;
                let by = self.named_here(*by).await;
                Rooming::Forked { room, by }
            }
        };
        Some(rooming.into())
    }

    /// A line has left this machine once it has for all whom it is for.
    async fn note_room_state(&mut self, line: MessageNumber) {
        if !self.staying.contains(&line) {
            return;
        }
        let known = self.client.room_line(line).await.ok().flatten();
        let has_left = |state: MessageState| match state {
            MessageState::Queued => false,
            MessageState::Accepted => self.accepted_is_left,
            _ => true,
        };
        let all = known.is_none_or(|line| line.deliveries.iter().all(|to| has_left(to.state)));
        if all {
            self.staying.remove(&line);
        }
    }

    async fn said_in(&mut self, room: &Room, lines: Vec<RoomLine>) -> Vec<RoomSaid> {
        let mut said = Vec::new();
        for line in lines {
            said.push(self.said_of(room, line).await);
        }
        said
    }

    async fn said_of(&mut self, room: &Room, line: RoomLine) -> RoomSaid {
        let answered = self.client.answered_line(&line).await.ok().flatten().map(Box::new);
        let author = self.named_here(line.entry.contact).await.name;
        RoomSaid { room: room.clone(), author, line, answered }
    }

    async fn room_of(&self, id: RoomId) -> Result<Room, String> {
        let rooms = self.client.rooms().await.map_err(text)?;
        let found = rooms.into_iter().find(|room| room.id == id);
        found.ok_or_else(|| format!("there is no room {id}"))
    }

    /// The room that goes by a word: its name with dashes, or the first digits of its id.
    async fn room_called(&self, word: &str) -> Result<Room, String> {
        let rooms = self.client.rooms().await.map_err(text)?;
        let is_meant = |room: &&Room| {
            let digits = word.len() >= DIGITS && room.id.to_string().starts_with(word);
            handle(room) == word || digits
        };
        let found: Vec<_> = rooms.iter().filter(is_meant).collect();
        match found[..] {
            [room] => Ok(room.clone()),
            [] => Err(format!("you are in no room that goes by {word}; see /rooms")),
            _ => {
                let ids: Vec<_> =
                    found.iter().map(|room| room.id.to_string()[..DIGITS].to_owned()).collect();
                Err(format!("several rooms go by {word}; say which: {}", ids.join(", ")))
            }
        }
    }

    /// A member who is meant by a word: an address or its first digits, or a contact's name.
    async fn member_called(&mut self, room: &str, word: &str) -> Result<Address, String> {
        let room = self.room_called(room).await?;
        let members = self.client.room_members(room.id).await.map_err(text)?;
        match meant(&members, word)[..] {
            [member] => Ok(member.address),
            [] => word.parse().map_err(|_| {
                format!("nobody in {} goes by {word}; see /room members", handle(&room))
            }),
            _ => Err(format!("{word} is not enough to tell who is meant; give the whole address")),
        }
    }

    /// Somebody who is in any room with us and goes by a word.
    async fn member_anywhere(&self, word: &str) -> Option<Address> {
        for room in self.client.rooms().await.ok()? {
            let members = self.client.room_members(room.id).await.ok()?;
            if let [member] = meant(&members, word)[..] {
                return Some(member.address);
            }
        }
        None
    }

    async fn named_person(&mut self, address: Address) -> Named {
        match self.contact(address).await {
            Some(contact) => Named { name: contact.name, address },
            None => Named { name: address.to_string()[..DIGITS].to_owned(), address },
        }
    }

    async fn named_here(&mut self, address: Address) -> Named {
        if address == self.client.address() {
            return Named { name: "you".to_owned(), address };
        }
        self.named_person(address).await
    }
}

/// The members who go by a word.
fn meant<'a>(members: &'a [RoomMember], word: &str) -> Vec<&'a RoomMember> {
    let is_meant = |member: &&RoomMember| {
        let digits = word.len() >= DIGITS && member.address.to_string().starts_with(word);
        !member.is_us && (member.name == word || digits)
    };
    members.iter().filter(is_meant).collect()
}

/// Whom a change is about, if it is about somebody else than its author.
fn about(change: &Change) -> Option<Address> {
    match change {
        Change::Admit(join) => Some(join.joiner().address()),
        Change::Remove(member) | Change::Appoint { member, .. } => Some(member.address()),
        _ => None,
    }
}
