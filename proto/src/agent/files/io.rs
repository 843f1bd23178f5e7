//! What goes into an agent about files, and what comes out.

use thiserror::Error;

use crate::address::Address;
use crate::agent::entry::MessageNumber;
use crate::file::{FileRoot, Offer, Piece, Reason};
use crate::time::Span;

use super::{FILES_MAX, TAKEN_MAX};

/// What a person wants of a file. Places are the host's: an agent keeps them and hands them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileCommand {
    /// Offers a file to somebody. Nothing of it leaves before they take it.
    Offer {
        /// To whom; becomes a contact if it is none.
        to: Address,
        /// What it is.
        offer: Offer,
        /// Where the host finds it, at most 8 KiB.
        place: Vec<u8>,
        /// How long the offer may wait for them; 10 minutes to 30 days.
        ttl: Span,
    },
    /// Takes what was offered, or goes on where that was interrupted.
    Take {
        /// The message that offers it.
        number: MessageNumber,
        /// Where the host puts what comes.
        place: Vec<u8>,
        /// What it is to be called there, if not as it was offered. It is made safe.
        name: Option<String>,
    },
    /// Refuses what was offered, gives up what was taken, or does not give any more what the person has offered.
    Stop(MessageNumber),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FileError {
    /// The message.
    #[error("#{} offers no file", .0.0)]
    NoOffer(MessageNumber),
    /// Whose it is.
    #[error("#{} is your own offer; there is nothing to take", .0.0)]
    Own(MessageNumber),
    /// It is here.
    #[error("the file of #{} is here already", .0.0)]
    Here(MessageNumber),
    /// Nothing more will happen to it.
    #[error("the transfer of #{} has ended", .0.0)]
    Ended(MessageNumber),
    /// The bound of files.
    #[error("{FILES_MAX} files are offered or taken, which is as many as fit; /stop some")]
    TooMany,
    /// The bound of those that come.
    #[error("{TAKEN_MAX} files are coming already; take it when one of them is here, or /stop one")]
    TooManyTaken,
    /// The host's word for where it is.
    #[error("the path is too long")]
    Place,
}

/// A file as it is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The message that offers it.
    pub number: MessageNumber,
    /// Whose it is, or to whom it was offered.
    pub contact: Address,
    /// What it is.
    pub offer: Offer,
    /// What became of it.
    pub standing: FileStanding,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileStanding {
    /// We have offered it, and nothing of it was wanted yet, or all that was wanted has come.
    Offered,
    /// We have offered it, and it is wanted.
    Giving {
        /// Pieces that have not come to them, as far as we know; there are [`crate::file::pieces_of`] in all.
        left: u32,
    },
    /// We have offered it, and they have it whole.
    Given,
    /// It was offered to us.
    Open,
    /// We have taken it, and it comes.
    Taking {
        /// Bytes that are here.
        done: u64,
        /// Why nothing more is taken until the person says so again, if so.
        halted: Option<String>,
    },
    /// It is here.
    Here {
        /// Where the host has put it.
        place: Vec<u8>,
    },
    /// Nothing more will happen.
    Ended(FileEnd),
}

/// Why the transfer of a file has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// Whoever it was offered to does not want it.
    Refused,
    /// Whoever offered it does not any more.
    Withdrawn,
    /// Whoever offered it cannot read it, or has changed it.
    Unreadable,
    /// A piece came that is none of the file that was offered.
    Forged,
}

/// What a person wants to know of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// More of it has come, to us or to them. Told once a second at most.
    Progress(File),
    /// It is here, or they have it.
    Done(File),
    /// Nothing more will happen, or nothing more until the person says so.
    Ended(File),
}

/// What the host is to do with a file, in the order in which it is told. Bounded: at most 16 pieces of a file are read,
/// 64 of all and beyond that one of each, and 256 written at a time (PROTOCOL §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOrder {
    /// Read a piece with its proof; say [`FileReport::Read`].
    Read {
        /// Which file.
        number: MessageNumber,
        /// Which piece.
        index: u32,
        /// Where it is, as the host has said.
        place: Vec<u8>,
        /// Bytes of the file.
        size: u64,
        /// The root of its tree.
        root: FileRoot,
    },
    /// Write a piece; say [`FileReport::Written`] once the disk has it.
    Write {
        /// Which file.
        number: MessageNumber,
        /// Which piece.
        index: u32,
        /// Where it is put, as the host has said.
        place: Vec<u8>,
        /// Where in the file the bytes begin.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether something of the file was written before: then it must be there still.
        is_begun: bool,
    },
    /// All pieces are written: check the whole file, and give it its name without overwriting anything; say
    /// [`FileReport::Finished`].
    Finish {
        /// Which file.
        number: MessageNumber,
        /// Where it was put, as the host has said.
        place: Vec<u8>,
        /// What it is to be called: a safe name.
        name: String,
        /// Bytes of the file.
        size: u64,
        /// The root of its tree.
        root: FileRoot,
    },
    /// Remove what was written of a file that will not be whole. Nothing is said of it.
    Discard {
        /// Which file.
        number: MessageNumber,
        /// Where it was put, as the host has said.
        place: Vec<u8>,
    },
}

/// What came of a [`FileOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReport {
    /// A piece was read, or why not.
    Read {
        /// Which file.
        number: MessageNumber,
        /// Which piece.
        index: u32,
        /// The piece.
        result: Result<Piece, String>,
    },
    /// The disk has a piece, or why not.
    Written {
        /// Which file.
        number: MessageNumber,
        /// Which piece.
        index: u32,
        /// What came of it.
        result: Result<(), Unwritten>,
    },
    /// A file is whole and has its name, or why not.
    Finished {
        /// Which file.
        number: MessageNumber,
        /// Where it is now.
        result: Result<Vec<u8>, Unwritten>,
    },
}

/// Why a file was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// What was written before is not there any more, or is not what was written: it is to come anew.
    Lost,
    /// The disk, for people.
    Disk(String),
}

impl From<Reason> for FileEnd {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Withdrawn => Self::Withdrawn,
            Reason::Unreadable => Self::Unreadable,
        }
    }
}
