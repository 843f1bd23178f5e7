//! Who belongs to a room and what they may do, as it follows from events (PROTOCOL §4.15).
//!
//! Entry type is [`State`]. It knows events one at a time: which come first, and which a removal makes void, is
//! the log's to say. What an author must be entitled to comes in two parts: their *standing*, which has to hold
//! both where they stood when they made the event and where it falls among all others, and *leave*, which is looked
//! at only where they stood: a lock that somebody had not heard of is no reason why what they did should be undone.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::event::{Body, Change, Event};
use super::id::EventId;
use super::invitation::{INVITATION_LIFETIME_MAX, Join};
use super::name::RoomName;
use crate::key::PublicKey;
use crate::time::Time;

/// The most members of a room.
pub const MEMBERS_MAX: usize = 200;
/// The most invitations of one member that can be used.
pub const INVITATIONS_MAX: usize = 16;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Writes; invites and lets in if the room's policy says so; leaves.
    Member,
    /// Removes members, revokes invitations, renames the room, decides who may invite.
    Admin,
    /// Removes anybody and says who is an admin. It is whoever founded the room, for good.
    Owner,
}

/// What the owner can make of a member. Nobody is made an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Office {
    /// Of somebody who was an admin.
    Member,
    /// Of somebody who was none.
    Admin,
}

/// Who may invite and let others in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Every member.
    #[default]
    Everybody,
    /// Admins and the owner.
    Admins,
    /// Nobody: the room is locked.
    Nobody,
}

/// Somebody who belongs to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What they may do.
    pub role: Role,
    /// The event that let them in; for the founder, the first.
    pub since: EventId,
    /// What they drew when they asked to be let in; for the founder, the room's nonce. It stays the same if two let
    /// them in at once, and is another when they come back.
    pub membership: [u8; 32],
}

/// An invitation that the room knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who invited.
    pub by: PublicKey,
    /// Until when it is good.
    pub expires_at: Time,
    fate: Fate,
}

/// What became of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// By an event, or because its inviter was removed or left.
    Revoked,
    Used,
}

/// What follows from events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    name: RoomName,
    policy: Policy,
    members: BTreeMap<PublicKey, Member>,
    /// Who has belonged to it and does not.
    former: BTreeSet<PublicKey>,
    tokens: BTreeMap<PublicKey, Token>,
}

/// Why somebody was not entitled to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Its author.
    #[error("whoever did it is no member of the room")]
    NotAMember,
    /// Their role.
    #[error("it takes a higher role in the room")]
    NotEntitled,
    /// A room is not left without its owner.
    #[error("the owner stays as long as anybody else is in the room")]
    OwnerStays,
    /// Whom it is about.
    #[error("it is about somebody who is no member of the room")]
    NoSuchMember,
    /// It would change nothing.
    #[error("it changes nothing")]
    NoChange,
    /// Who is to be let in.
    #[error("whoever is to be let in is a member already")]
    AlreadyMember,
    /// The bound.
    #[error("a room has at most {MEMBERS_MAX} members")]
    Full,
    /// The policy.
    #[error("the room is locked, or only its admins let others in")]
    Locked,
    /// The room does not know the token, or its inviter had no right to invite.
    #[error("the room knows no such invitation")]
    UnknownInvitation,
    /// It has let somebody in.
    #[error("the invitation has been used")]
    UsedInvitation,
    /// By an event, or because its inviter is gone.
    #[error("the invitation was revoked")]
    RevokedInvitation,
    /// Its time is over.
    #[error("the invitation has expired")]
    ExpiredInvitation,
    /// It would be good for too long, or never.
    #[error("an invitation is good for at most 30 days")]
    Lifetime,
    /// The bound.
    #[error("at most {INVITATIONS_MAX} invitations of one member are open; revoke one")]
    TooManyInvitations,
}

impl Office {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Member => 0,
            Self::Admin => 1,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::Member, Self::Admin].into_iter().find(|office| office.code() == code)
    }
}

impl From<Office> for Role {
    fn from(office: Office) -> Self {
        match office {
            Office::Member => Self::Member,
            Office::Admin => Self::Admin,
        }
    }
}

impl Policy {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Everybody => 0,
            Self::Admins => 1,
            Self::Nobody => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        let all = [Self::Everybody, Self::Admins, Self::Nobody];
        all.into_iter().find(|policy| policy.code() == code)
    }

    /// Whether whoever stands there may invite and let in.
    pub(crate) fn allows(self, rank: Role) -> bool {
        match self {
            Self::Everybody => true,
            Self::Admins => rank >= Role::Admin,
            Self::Nobody => false,
        }
    }
}

impl Token {
    /// Whether it can still let somebody in, its expiry aside.
    pub const fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Open)
    }
}

impl State {
    /// What follows from a room's first event alone; none of another.
    pub(super) fn founded(event: &Event) -> Option<Self> {
        let Body::Founding { name, nonce } = event.body() else { return None };
        let owner = Member { role: Role::Owner, since: event.id(), membership: *nonce };
        Some(Self {
            name: name.clone(),
            policy: Policy::default(),
            members: BTreeMap::from([(*event.author(), owner)]),
            former: BTreeSet::new(),
            tokens: BTreeMap::new(),
        })
    }

    /// What the room is called.
    pub const fn name(&self) -> &RoomName {
        &self.name
    }

    /// Who may invite and let in.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Everybody who belongs to it, in the order of their keys.
    pub const fn members(&self) -> &BTreeMap<PublicKey, Member> {
        &self.members
    }

    /// Whether somebody belongs to it: what they say in it may be shown, and passes where strangers wait.
    pub fn is_member(&self, key: &PublicKey) -> bool {
        self.members.contains_key(key)
    }

    /// Who has belonged to it and does not any more.
    pub fn former(&self) -> impl Iterator<Item = &PublicKey> {
        self.former.iter()
    }

    /// Whether somebody has belonged to it and does not any more.
    pub fn was_member(&self, key: &PublicKey) -> bool {
        self.former.contains(key)
    }

    /// The invitations that the room knows, by the keys of their tokens.
    pub const fn tokens(&self) -> &BTreeMap<PublicKey, Token> {
        &self.tokens
    }

    /// How high somebody stands; nothing if they are no member.
    pub fn rank(&self, key: &PublicKey) -> Option<Role> {
        self.members.get(key).map(|member| member.role)
    }

    /// Whether an event was its author's to make where they stood.
    pub(super) fn check(&self, event: &Event) -> Result<Role, Refused> {
        let rank = self.rank(event.author()).ok_or(Refused::NotAMember)?;
        self.standing(event)?;
        self.leave(event, rank)?;
        Ok(rank)
    }

    /// The part of it that has to hold among all events, too.
    pub(super) fn standing(&self, event: &Event) -> Result<(), Refused> {
        let author = self.members.get(event.author()).ok_or(Refused::NotAMember)?;
        // A room has one first event.
        let change = event.change().ok_or(Refused::NoChange)?;
        match change {
            Change::Invite { token, .. } => {
                if self.tokens.contains_key(token) {
                    Err(Refused::NoChange)
                } else {
                    Ok(())
                }
            }
            Change::Revoke(key) => {
                let token = self.tokens.get(key).ok_or(Refused::UnknownInvitation)?;
                let is_theirs = token.by == *event.author();
                if is_theirs { Ok(()) } else { author.at_least(Role::Admin) }
            }
            Change::Admit(join) => self.check_admission(join, event.made_at()),
            Change::Leave => {
                let is_needed = author.role == Role::Owner && self.members.len() > 1;
                if is_needed { Err(Refused::OwnerStays) } else { Ok(()) }
            }
            Change::Remove(key) => {
                match self.members.get(key) {
                    Some(member) if author.role > member.role => Ok(()),
                    Some(_) => Err(Refused::NotEntitled),
                    // Whoever has left may act beside their leaving as what they became later.
                    None if self.former.contains(key) => author.at_least(Role::Admin),
                    None => Err(Refused::NoSuchMember),
                }
            }
            Change::Appoint { member, role } => {
                author.at_least(Role::Owner)?;
                let member = self.members.get(member).ok_or(Refused::NoSuchMember)?;
                let is_change = member.role < Role::Owner && member.role != Role::from(*role);
                if is_change { Ok(()) } else { Err(Refused::NoChange) }
            }
            Change::Rename(_) | Change::Decide(_) => author.at_least(Role::Admin),
        }
    }

    /// Changes it by an event whose author is entitled to it.
    pub(super) fn apply(&mut self, event: &Event) {
        match event.change() {
            None => {}
            Some(Change::Invite { token, expires_at }) => {
                let (by, expires_at) = (*event.author(), *expires_at);
                self.tokens.insert(*token, Token { by, expires_at, fate: Fate::Open });
            }
            Some(Change::Revoke(token)) => self.end(|key, _| key == token),
            Some(Change::Admit(join)) => {
                let (since, membership) = (event.id(), *join.fresh());
                let member = Member { role: Role::Member, since, membership };
                self.members.insert(*join.joiner(), member);
                self.former.remove(join.joiner());
                if let Some(token) = self.tokens.get_mut(join.token()) {
                    token.fate = Fate::Used;
                }
            }
            Some(Change::Leave) => self.drop_member(event.author()),
            Some(Change::Remove(key)) => self.drop_member(key),
            Some(Change::Appoint { member, role }) => {
                if let Some(member) = self.members.get_mut(member) {
                    member.role = Role::from(*role);
                }
            }
            Some(Change::Rename(name)) => self.name = name.clone(),
            Some(Change::Decide(policy)) => self.policy = *policy,
        }
    }

    /// The part of an author's right that is looked at only where they stood.
    fn leave(&self, event: &Event, rank: Role) -> Result<(), Refused> {
        match event.change() {
            Some(Change::Invite { expires_at, .. }) => {
                if !self.policy.allows(rank) {
                    return Err(Refused::Locked);
                }
                let now = event.made_at();
                if *expires_at <= now || expires_at.since(now) > INVITATION_LIFETIME_MAX {
                    return Err(Refused::Lifetime);
                }
                let open = |token: &&Token| {
                    token.by == *event.author() && token.is_open() && token.expires_at > now
                };
                if self.tokens.values().filter(open).count() >= INVITATIONS_MAX {
                    return Err(Refused::TooManyInvitations);
                }
                Ok(())
            }
            Some(Change::Admit(join)) => match self.tokens.get(join.token()) {
                _ if !self.policy.allows(rank) => Err(Refused::Locked),
                Some(token) if token.fate == Fate::Revoked => Err(Refused::RevokedInvitation),
                _ => Ok(()),
            },
            Some(Change::Revoke(token)) => {
                let is_open = self.tokens.get(token).is_some_and(Token::is_open);
                if is_open { Ok(()) } else { Err(Refused::NoChange) }
            }
            _ => Ok(()),
        }
    }

    fn check_admission(&self, join: &Join, made_at: Time) -> Result<(), Refused> {
        let token = self.tokens.get(join.token()).ok_or(Refused::UnknownInvitation)?;
        if token.fate == Fate::Used {
            return Err(Refused::UsedInvitation);
        }
        if token.expires_at <= made_at {
            return Err(Refused::ExpiredInvitation);
        }
        if self.is_member(join.joiner()) {
            return Err(Refused::AlreadyMember);
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(Refused::Full);
        }
        Ok(())
    }

    fn drop_member(&mut self, member: &PublicKey) {
        if self.members.remove(member).is_some() {
            self.former.insert(*member);
        }
        self.end(|_, token| token.by == *member);
    }

    fn end(&mut self, which: impl Fn(&PublicKey, &Token) -> bool) {
        for (key, token) in &mut self.tokens {
            if token.fate == Fate::Open && which(key, token) {
                token.fate = Fate::Revoked;
            }
        }
    }
}

impl Member {
    fn at_least(&self, role: Role) -> Result<(), Refused> {
        if self.role >= role { Ok(()) } else { Err(Refused::NotEntitled) }
    }
}
