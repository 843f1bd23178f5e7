//! What the program tells of files.
//!
//! Entry type is [`Filing`], with its lines for people ([`Filing::plain`]) and for programs ([`Filing::json`]). The bar is
//! drawn here and not by a library for bars: these draw on a terminal that belongs to the editor of lines.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use comm::files::path_of;
use comm_proto::agent::{Entry, File, FileEnd, FileStanding};
use comm_proto::file::{Offer, PIECE_LEN};
use comm_proto::payload::ContentType;
use serde_json::{Map, Value, json};

use crate::plain::safe;

/// Characters of a bar.
const BAR_LEN: u64 = 20;
/// For how long back a rate is measured.
const MEASURED: Duration = Duration::from_secs(20);

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filing {
    /// Every file.
    Files(Vec<NamedFile>),
    /// A file as it is now.
    File(NamedFile),
    /// More of it has come.
    Progress { file: NamedFile, rate: Option<u64> },
    /// It is here, or they have it.
    Done(NamedFile),
    /// Nothing more will happen, or nothing more until the person says so.
    Ended(NamedFile),
}

/// A file with the name of whoever it is from or for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) name: String,
    pub(crate) file: File,
}

/// How fast a file comes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seen: VecDeque<(Instant, u64)>,
    /// The last tenth that was shown where lines stay.
    tenth: u64,
}

impl Pace {
    /// Notes how much is there now; bytes a second, once that can be told.
    pub(crate) fn note(&mut self, now: Instant, done: u64) -> Option<u64> {
        self.seen.push_back((now, done));
        while self.seen.len() > 2 && now.duration_since(self.seen[1].0) > MEASURED {
            self.seen.pop_front();
        }
        let (first, before) = *self.seen.front()?;
        let millis =
            u64::try_from(now.duration_since(first).as_millis()).ok().filter(|ms| *ms > 0)?;
        Some(done.saturating_sub(before).saturating_mul(1_000) / millis)
    }

    /// Whether a further tenth of it has come since this was last asked.
    pub(crate) fn is_next_tenth(&mut self, done: u64, size: u64) -> bool {
        let tenth = done.saturating_mul(10) / size.max(1);
        let is_next = tenth > self.tenth;
        self.tenth = self.tenth.max(tenth);
        is_next
    }
}

/// What an entry offers, if it does.
pub(crate) fn offer(entry: &Entry) -> Option<Offer> {
    let is_one = entry.content_type == ContentType::FILE;
    is_one.then(|| Offer::from_bytes(&entry.body).ok()).flatten()
}

/// An offer as it stands in a conversation.
pub(crate) fn offer_text(offer: &Offer) -> String {
    format!("(the file {}, {})", safe(offer.name()), amount(offer.size()))
}

/// Adds what an entry offers.
pub(crate) fn offer_into(object: &mut Map<String, Value>, offer: &Offer) {
    object.insert("file_name".to_owned(), json!(offer.name()));
    object.insert("size".to_owned(), json!(offer.size()));
    object.insert("blake3".to_owned(), json!(offer.root().to_string()));
}

impl NamedFile {
    /// Bytes of it that have come to whoever gets it, as far as we know.
    pub(crate) fn done(&self) -> u64 {
        let size = self.file.offer.size();
        match &self.file.standing {
            FileStanding::Taking { done, .. } => *done,
            FileStanding::Giving { left } => {
                size.saturating_sub(u64::from(*left) * u64::from(PIECE_LEN))
            }
            FileStanding::Given | FileStanding::Here { .. } => size,
            FileStanding::Offered | FileStanding::Open | FileStanding::Ended(_) => 0,
        }
    }

    fn json(&self, kind: &str) -> Map<String, Value> {
        let File { number, contact, offer, standing } = &self.file;
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(kind));
        object.insert("number".to_owned(), json!(number.0));
        object.insert("name".to_owned(), json!(self.name));
        object.insert("address".to_owned(), json!(contact.to_string()));
        object.insert("state".to_owned(), json!(state(standing)));
        object.insert("done".to_owned(), json!(self.done()));
        offer_into(&mut object, offer);
        match standing {
            FileStanding::Taking { halted: Some(reason), .. } => {
                object.insert("reason".to_owned(), json!(reason));
            }
            FileStanding::Here { place } => {
                let path = path_of(place).display().to_string();
                object.insert("path".to_owned(), json!(path));
            }
            FileStanding::Ended(end) => {
                object.insert("reason".to_owned(), json!(reason(*end)));
            }
            _ => {}
        }
        object
    }

    fn head(&self) -> String {
        let File { number, offer, .. } = &self.file;
        format!("#{} {} ({})", number.0, safe(offer.name()), amount(offer.size()))
    }

    fn line(&self) -> String {
        let (head, name) = (self.head(), safe(&self.name));
        let number = self.file.number.0;
        let percent = percent(self.done(), self.file.offer.size());
        match &self.file.standing {
            FileStanding::Offered => format!("{head} for {name}: offered"),
            FileStanding::Giving { .. } => format!("{head} for {name}: {percent} % have come"),
            FileStanding::Given => format!("{head} for {name}: they have it"),
            FileStanding::Open => {
                format!("{head} of {name}: /take {number} takes it, /stop {number} refuses it")
            }
            FileStanding::Taking { halted: None, .. } => {
                format!("{head} of {name}: {percent} % are here")
            }
            FileStanding::Taking { halted: Some(reason), .. } => format!(
                "{head} of {name}: halted at {percent} %, {}; /take {number} goes on",
                safe(reason)
            ),
            FileStanding::Here { place } => {
                format!("{head} of {name}: {}", safe(&path_of(place).display().to_string()))
            }
            FileStanding::Ended(end) => format!("{head}, {name}: {}", end_text(*end)),
        }
    }
}

impl Filing {
    /// One object.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Files(files) => {
                let files: Vec<_> =
                    files.iter().map(|file| Value::Object(file.json("file"))).collect();
                json!({ "type": "files", "files": files })
            }
            Self::File(file) => Value::Object(file.json("file")),
            Self::Done(file) => Value::Object(file.json("file_done")),
            Self::Ended(file) => Value::Object(file.json("file_ended")),
            Self::Progress { file, rate } => {
                let mut object = file.json("file_progress");
                object.insert("bytes_per_second".to_owned(), json!(rate));
                let left = seconds_left(file, *rate);
                object.insert("seconds_left".to_owned(), json!(left));
                Value::Object(object)
            }
        }
    }

    /// Lines for people.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Files(files) if files.is_empty() => "no file was offered yet".to_owned(),
            Self::Files(files) => files.iter().map(NamedFile::line).collect::<Vec<_>>().join("\n"),
            Self::File(file) => file.line(),
            Self::Done(file) | Self::Ended(file) => file.line(),
            Self::Progress { file, rate } => {
                let (done, size) = (file.done(), file.file.offer.size());
                let filled = (done.saturating_mul(BAR_LEN) / size.max(1)).min(BAR_LEN) as usize;
                let bar =
                    format!("{}{}", "#".repeat(filled), "-".repeat(BAR_LEN as usize - filled));
                let number = file.file.number.0;
                let pace = match (*rate, seconds_left(file, *rate)) {
                    (Some(rate), Some(left)) => {
                        format!(", {}/s, {} left", amount(rate), time(left))
                    }
                    _ => String::new(),
                };
                let name = safe(file.file.offer.name());
                format!("#{number} {name} [{bar}] {} %{pace}", percent(done, size))
            }
        }
    }
}

fn state(standing: &FileStanding) -> &'static str {
    match standing {
        FileStanding::Offered => "offered",
        FileStanding::Giving { .. } => "giving",
        FileStanding::Given => "given",
        FileStanding::Open => "open",
        FileStanding::Taking { halted: None, .. } => "taking",
        FileStanding::Taking { halted: Some(_), .. } => "halted",
        FileStanding::Here { .. } => "here",
        FileStanding::Ended(_) => "ended",
    }
}

const fn reason(end: FileEnd) -> &'static str {
    match end {
        FileEnd::Refused => "refused",
        FileEnd::Withdrawn => "withdrawn",
        FileEnd::Unreadable => "unreadable",
        FileEnd::Forged => "forged",
    }
}

const fn end_text(end: FileEnd) -> &'static str {
    match end {
        FileEnd::Refused => "refused",
        FileEnd::Withdrawn => "not offered any more",
        FileEnd::Unreadable => "it cannot be read any more, or was changed after it was offered",
        FileEnd::Forged => "what came is not what was offered; nothing of it is kept",
    }
}

fn percent(done: u64, size: u64) -> u64 {
    done.saturating_mul(100) / size.max(1)
}

fn seconds_left(file: &NamedFile, rate: Option<u64>) -> Option<u64> {
    let rate = rate.filter(|rate| *rate > 0)?;
    Some(file.file.offer.size().saturating_sub(file.done()).div_ceil(rate))
}

/// Bytes as people read them.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} bytes");
    }
    let (mut value, mut unit) = (bytes as f64 / 1_000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1_000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds.div_ceil(60)),
        3_600..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::address::Address;
    use comm_proto::agent::MessageNumber;
    use comm_proto::file::FileRoot;

    use super::*;

    fn named(standing: FileStanding) -> NamedFile {
        let offer = Offer::new(1_000_000, FileRoot::from_bytes([7; 32]), "cat.jpg").unwrap();
        let (number, contact) = (MessageNumber(7), Address::from_bytes([1; 20]));
        NamedFile { name: "ann".to_owned(), file: File { number, contact, offer, standing } }
    }

    #[test]
    fn a_bar_shows_how_much_how_fast_and_how_long_still() {
        let file = named(FileStanding::Taking { done: 250_000, halted: None });
        let progress = |rate| Filing::Progress { file: file.clone(), rate }.plain();
        assert_eq!(
            progress(Some(5_000)),
            "#7 cat.jpg [#####---------------] 25 %, 5.0 kB/s, 3 min left"
        );
        assert_eq!(progress(None), "#7 cat.jpg [#####---------------] 25 %");
        let mut pace = Pace::default();
        let start = Instant::now();
        assert_eq!(pace.note(start, 0), None);
        assert_eq!(pace.note(start + Duration::from_secs(2), 8_000), Some(4_000));
        assert_eq!(pace.note(start + Duration::from_secs(100), 8_000), Some(0));
        assert!(pace.is_next_tenth(100, 1_000) && !pace.is_next_tenth(199, 1_000));
        assert!(pace.is_next_tenth(1_000, 1_000));
    }

    #[test]
    fn every_standing_has_its_line_and_its_word() {
        let halted = Some("no space".to_owned());
        for (standing, line, word) in [
            (FileStanding::Offered, "for ann: offered", "offered"),
            (FileStanding::Giving { left: 5 }, "for ann: 69 % have come", "giving"),
            (FileStanding::Given, "for ann: they have it", "given"),
            (FileStanding::Open, "of ann: /take 7 takes it, /stop 7 refuses it", "open"),
            (
                FileStanding::Taking { done: 500_000, halted: None },
                "of ann: 50 % are here",
                "taking",
            ),
            (
                FileStanding::Taking { done: 500_000, halted },
                "of ann: halted at 50 %, no space; /take 7 goes on",
                "halted",
            ),
            (FileStanding::Here { place: b"/d/cat.jpg".to_vec() }, "of ann: /d/cat.jpg", "here"),
        ] {
            let file = named(standing);
            assert_eq!(file.line(), format!("#7 cat.jpg (1.0 MB) {line}"));
            assert_eq!(file.json("file")["state"], word);
        }
        for end in [FileEnd::Refused, FileEnd::Withdrawn, FileEnd::Unreadable, FileEnd::Forged] {
            let file = named(FileStanding::Ended(end));
            assert!(file.line().starts_with("#7 cat.jpg (1.0 MB), ann: "));
            assert_eq!(file.json("file")["reason"], reason(end));
        }
    }

    #[test]
    fn amounts_and_times_are_short() {
        let amounts = [0, 999, 1_000, 999_949, 999_951, 68_719_476_736].map(amount);
        assert_eq!(amounts, ["0 bytes", "999 bytes", "1.0 kB", "999.9 kB", "1.0 MB", "68.7 GB"]);
        assert_eq!([59, 61, 7_200, 200_000].map(time), ["59 s", "2 min", "2 h", "3 days"]);
    }
}
