//! The rooms that a person is in.

use comm_proto::agent::{
    Command, MessageNumber, Outcome, Room, RoomChange, RoomCommand, RoomFound, RoomInvitation,
    RoomLine, RoomMember, RoomOutcome, SearchPlace, Words,
};
use comm_proto::payload::MessageId;
use comm_proto::room::{Invitation, RoomId, RoomName};
use comm_proto::store::StoreError;
use comm_proto::time::{Span, Time};
use tokio::sync::oneshot;

use super::driver::Ask;
use super::{Client, ClientError};

/// What is asked of the driver about rooms.
#[derive(Debug)]
pub(super) enum RoomAsk {
    All(oneshot::Sender<Vec<Room>>),
    Members {
        room: RoomId,
        reply: oneshot::Sender<Vec<RoomMember>>,
    },
    Invitations {
        room: RoomId,
        reply: oneshot::Sender<Vec<RoomInvitation>>,
    },
    History {
        room: RoomId,
        before: Option<MessageNumber>,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<RoomLine>, StoreError>>,
    },
    Search {
        room: RoomId,
        words: Words,
        from: Option<SearchPlace>,
        reply: oneshot::Sender<Result<RoomFound, StoreError>>,
    },
    Line {
        number: MessageNumber,
        reply: oneshot::Sender<Result<Option<RoomLine>, StoreError>>,
    },
    LineById {
        room: RoomId,
        id: MessageId,
        reply: oneshot::Sender<Result<Option<RoomLine>, StoreError>>,
    },
}

impl Client {
    /// Every room that the person is in, was in, or asks to be let into, by name.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn rooms(&self) -> Result<Vec<Room>, ClientError> {
        self.ask(|reply| Ask::Room(RoomAsk::All(reply))).await
    }

    /// Founds a room, which the person owns (PROTOCOL §4.14).
    ///
    /// # Errors
    /// When there are too many rooms, or the client has ended.
    pub async fn create_room(&self, name: RoomName) -> Result<Room, ClientError> {
        self.change(RoomCommand::Create(name)).await
    }

    /// Makes an invitation that is good for one person and for `lifetime`, at most 30 days (PROTOCOL §4.16). Its text is
    /// to be handed to them and nobody else: whoever has it can use it, once.
    ///
    /// # Errors
    /// When the person may not invite, or the client has ended.
    pub async fn invite(&self, room: RoomId, lifetime: Span) -> Result<Invitation, ClientError> {
        match self.about_room(RoomCommand::Invite { room, lifetime }).await? {
            RoomOutcome::Invited(invitation) => Ok(*invitation),
            _ => Err(ClientError::Closed),
        }
    }

    /// Asks to be let into a room. An event tells when that has happened, which may take until somebody who may let
    /// in is there.
    ///
    /// # Errors
    /// When the invitation is over or the person is a member already, or the client has ended.
    pub async fn join(&self, invitation: Invitation) -> Result<Room, ClientError> {
        self.change(RoomCommand::Join(Box::new(invitation))).await
    }

    /// Changes a room as far as the person's role allows, or leaves it.
    ///
    /// # Errors
    /// When it does not, or the client has ended.
    pub async fn change_room(&self, room: RoomId, change: RoomChange) -> Result<Room, ClientError> {
        self.change(RoomCommand::Change { room, change }).await
    }

    /// Says something to all members of a room, as an answer to a line of it if `answers` names one. It waits for each of
    /// them for `ttl` at most.
    ///
    /// # Errors
    /// When the text is impossible or the person is no member, or the client has ended.
    pub async fn say(
        &self,
        room: RoomId,
        text: impl Into<String>,
        answers: Option<MessageNumber>,
        ttl: Span,
    ) -> Result<RoomLine, ClientError> {
        let text = text.into();
        match self.about_room(RoomCommand::Say { room, text, answers, ttl }).await? {
            RoomOutcome::Said(line) => Ok(*line),
            _ => Err(ClientError::Closed),
        }
    }

    /// Notes that the person was shown all that was said in a room.
    ///
    /// # Errors
    /// When there is no such room, or the client has ended.
    pub async fn mark_room_read(&self, room: RoomId) -> Result<Room, ClientError> {
        self.change(RoomCommand::MarkRead(room)).await
    }

    /// Removes a room that the person has left or never got into, with all that was said in it.
    ///
    /// # Errors
    /// When they are a member still, or the client has ended.
    pub async fn forget_room(&self, room: RoomId) -> Result<(), ClientError> {
        self.about_room(RoomCommand::Forget(room)).await.map(drop)
    }

    /// Who belongs to a room: the owner first, then admins, then members.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn room_members(&self, room: RoomId) -> Result<Vec<RoomMember>, ClientError> {
        self.ask(|reply| Ask::Room(RoomAsk::Members { room, reply })).await
    }

    /// The invitations into a room that can be used now.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn room_invitations(&self, room: RoomId) -> Result<Vec<RoomInvitation>, ClientError> {
        self.ask(|reply| Ask::Room(RoomAsk::Invitations { room, reply })).await
    }

    /// The last `limit` lines of a room before number `before` (the very last, if none), in the order of their
    /// authors.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn room_history(
        &self,
        room: RoomId,
        before: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<RoomLine>, ClientError> {
        let ask = |reply| Ask::Room(RoomAsk::History { room, before, limit, reply });
        Ok(self.ask(ask).await??)
    }

    /// The newest `limit` lines of a room that have all `words`, in the order of their authors.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn search_room(
        &self,
        room: RoomId,
        words: &Words,
        limit: usize,
    ) -> Result<Vec<RoomLine>, ClientError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let words = words.clone();
            let ask = |reply| Ask::Room(RoomAsk::Search { room, words, from, reply });
            let step = self.ask(ask).await??;
            found.extend(step.lines);
            from = step.next;
            if from.is_none() || found.len() >= limit {
                found.truncate(limit);
                found.reverse();
                return Ok(found);
            }
        }
    }

    /// One line of any room, as it is now.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn room_line(&self, number: MessageNumber) -> Result<Option<RoomLine>, ClientError> {
        Ok(self.ask(|reply| Ask::Room(RoomAsk::Line { number, reply })).await??)
    }

    /// The line that another of its room answers; none if it is not here or nothing is answered.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn answered_line(&self, line: &RoomLine) -> Result<Option<RoomLine>, ClientError> {
        let (Some(id), room) = (line.entry.answers, line.room) else { return Ok(None) };
        Ok(self.ask(|reply| Ask::Room(RoomAsk::LineById { room, id, reply })).await??)
    }

    async fn change(&self, command: RoomCommand) -> Result<Room, ClientError> {
        match self.about_room(command).await? {
            RoomOutcome::Room(room) => Ok(room),
            _ => Err(ClientError::Closed),
        }
    }

    async fn about_room(&self, command: RoomCommand) -> Result<RoomOutcome, ClientError> {
        match self.command(Command::Room(command)).await? {
            Outcome::Room(outcome) => Ok(outcome),
            _ => Err(ClientError::Closed),
        }
    }
}

impl super::driver::Driver {
    pub(super) fn on_room_ask(&self, ask: RoomAsk, now: Time) {
        let (agent, store) = (self.agent(), self.store());
        // Whoever does not wait for an answer any more need not get one.
        match ask {
            RoomAsk::All(reply) => drop(reply.send(agent.rooms())),
            RoomAsk::Members { room, reply } => drop(reply.send(agent.room_members(&room))),
            RoomAsk::Invitations { room, reply } => {
                drop(reply.send(agent.room_invitations(&room, now)));
            }
            RoomAsk::History { room, before, limit, reply } => {
                drop(reply.send(agent.room_history(store, &room, before, limit)));
            }
            RoomAsk::Search { room, words, from, reply } => {
                drop(reply.send(agent.search_room(store, &room, &words, from)));
            }
            RoomAsk::Line { number, reply } => drop(reply.send(agent.room_line(store, number))),
            RoomAsk::LineById { room, id, reply } => {
                drop(reply.send(agent.room_line_by_id(store, &room, &id)));
            }
        }
    }
}
