//! The tables of a person's store.

/// The tables of a person's store. Keys are numbers that this store gives, never addresses, so that
/// sealing the values leaves nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drawer {
    /// Contact number → the contact.
    Contacts,
    /// Contact number ‖ place in the conversation → what was said (`agent/history.rs`).
    History,
    /// Message number → what is still on its way.
    Outbox,
    /// Hash of a message id → when it may be forgotten.
    Seen,
    /// Name → prekeys and counters.
    Meta,
    /// Contact number ‖ message id → the message's number.
    Ids,
    /// Contact number ‖ message id → what becomes of that message once it comes.
    Waiting,
    /// Time ‖ contact number ‖ message number → when it was noted that this one disappears then.
    Fading,
    /// Contact number ‖ message number of what the person was not shown yet → nothing.
    Unread,
    /// Contact number ‖ message number → id of a message whose author is to be told that it was shown.
    Receipts,
    /// Contact number ‖ message number → what a stranger wrote who has not been let in yet.
    Requests,
    /// Contact number → the keys that they had, and what is in doubt.
    Ties,
    /// Room number, or that and one byte → what a room is to us, what our seat in it remembers (`agent/rooms.rs`).
    Rooms,
    /// Room number ‖ number in the order in which it came → an event of the room's log.
    RoomEvents,
    /// Room number ‖ hash → what waits for events of the room's log.
    RoomHeld,
    /// Room number ‖ author's contact number ‖ author's number of a line → the line's message number.
    RoomOrder,
    /// Room number ‖ message number of a line of ours ‖ contact number → how far it has come to that member.
    Deliveries,
    /// Number of the message that offers a file → what became of it (`agent/files.rs`).
    Files,
    /// The same ‖ page → which pieces of a file that comes are here.
    FilePieces,
    /// The same → which pieces of a file of ours are wanted.
    FileWants,
}

impl Drawer {
    /// All tables.
    pub const ALL: [Self; 20] = [
        Self::Contacts,
        Self::History,
        Self::Outbox,
        Self::Seen,
        Self::Meta,
        Self::Ids,
        Self::Waiting,
        Self::Fading,
        Self::Unread,
        Self::Receipts,
        Self::Requests,
        Self::Ties,
        Self::Rooms,
        Self::RoomEvents,
        Self::RoomHeld,
        Self::RoomOrder,
        Self::Deliveries,
        Self::Files,
        Self::FilePieces,
        Self::FileWants,
    ];

    /// Those that are about files.
    pub(super) const OF_FILES: [Self; 3] = [Self::Files, Self::FilePieces, Self::FileWants];

    /// Those that are about rooms.
    pub(super) const OF_ROOMS: [Self; 5] =
        [Self::Rooms, Self::RoomEvents, Self::RoomHeld, Self::RoomOrder, Self::Deliveries];

    /// Those that are about a conversation, by the number of its contact.
    pub(super) const OF_CONVERSATIONS: [Self; 6] =
        [Self::History, Self::Ids, Self::Waiting, Self::Unread, Self::Receipts, Self::Requests];

    /// A stable name, for stores that name their tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::History => "history",
            Self::Outbox => "outbox",
            Self::Seen => "seen",
            Self::Meta => "meta",
            Self::Ids => "ids",
            Self::Waiting => "waiting",
            Self::Fading => "fading",
            Self::Unread => "unread",
            Self::Receipts => "receipts",
            Self::Requests => "requests",
            Self::Ties => "ties",
            Self::Rooms => "rooms",
            Self::RoomEvents => "room-events",
            Self::RoomHeld => "room-held",
            Self::RoomOrder => "room-order",
            Self::Deliveries => "deliveries",
            Self::Files => "files",
            Self::FilePieces => "file-pieces",
            Self::FileWants => "file-wants",
        }
    }
}
