//! Rooms: people who write to each other together, and the signed log that says who they are (PROTOCOL §4.14).
//!
//! Entry types are [`Log`], what one member knows of a room, and [`State`], what follows from it. A log is
//! a set of [`Event`]s, each signed by its author and naming those that the author knew. Whatever order they
//! come in, the same set gives the same state, so that nobody has to decide. [`Invitation`] and [`Joining`]
//! bring somebody in, [`Note`] is what members say to each other about it, [`Talk`] gives what is said in the room
//! its authors' order, and [`Seat`] puts all of it together for one member. Relays know nothing of all this: to them there are conversations (PROTOCOL §4.6).

mod event;
mod id;
mod invitation;
mod joining;
mod log;
mod name;
mod note;
mod past;
mod record;
mod seat;
mod shares;
mod state;
mod talk;

pub use event::{Body, Change, Event, EventError, HEADS_MAX, Heads};
pub use id::{EventId, RoomId};
pub use invitation::{
    INVITATION_LIFETIME_MAX, Invitation, InvitationError, Join, OTHERS_MAX, TEXT_PREFIX,
};
pub use joining::{Joining, JoiningError, admit};
pub use log::{AUTHOR_EVENTS_MAX, EVENTS_MAX, Fork, Log, LogError, Taken, Verdict, WAITING_MAX};
pub use name::{NAME_MAX, NameError, RoomName};
pub use note::{EVENTS_OF_A_NOTE_MAX, Note, NoteError, Refusal, Said, WANTED_MAX};
pub use seat::{ASK_AGAIN, Seat, Step};
pub use state::{
    INVITATIONS_MAX, MEMBERS_MAX, Member, Office, Policy, Refused, Role, State, Token,
};
pub use talk::{HELD_MAX, Heard, Talk};
