//! Files: offered, taken, brought over piece by piece (PROTOCOL §4.23).

use comm_proto::agent::{
    File, FileCommand, FileEnd, FileError, FileEvent, FileOrder, FileReport, FileStanding,
    Unwritten,
};
use comm_proto::envelope::SizeClass;
use comm_proto::file::{
    FileNote, Offer, PIECE_LEN, Piece, Range, Reason, Tree, TreeBuilder, pieces_of,
};
use comm_proto::payload::MessageId;
use comm_proto::store::Store;

use super::succeeding::tell_ann_of;
use super::*;

/// Pieces of one file that may be on their way.
const WINDOW: usize = 16;
/// Pieces of all files of a person that may be on their way.
const GIVING_MAX: usize = 64;

/// A person's disk, as far as files lie on it.
#[derive(Default)]
pub(super) struct Shelf {
    /// By where they lie.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    trees: BTreeMap<Vec<u8>, Tree>,
    /// Files that are whole, by their names.
    kept: BTreeMap<String, Vec<u8>>,
    /// What the disk says instead of writing.
    fails_with: Option<Unwritten>,
    /// Whether no file can be given its name.
    fails_to_name: bool,
    /// Bytes that were written.
    written: usize,
    /// After how many orders from now on the program ends without a report.
    loses_report: Option<usize>,
}

impl Shelf {
    /// Does what an agent wants; what came of it, unless that is lost.
    pub(super) fn obey(&mut self, order: FileOrder) -> Option<FileReport> {
        let report = self.report(order)?;
        match &mut self.loses_report {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        Some(report)
    }

    fn report(&mut self, order: FileOrder) -> Option<FileReport> {
        Some(match order {
            FileOrder::Read { number, index, place, .. } => {
                let file = &self.files[&place];
                let read = |from: u64, length: usize| {
                    let from = from as usize;
                    file.get(from..from + length).map(<[u8]>::to_vec).ok_or("it is shorter")
                };
                let piece = self.trees[&place].piece(index, read).map_err(str::to_owned);
                let result = piece.map(|piece| piece.expect("there is such a piece"));
                FileReport::Read { number, index, result }
            }
            FileOrder::Write { number, index, place, offset, data, is_begun } => {
                let result = match self.fails_with.clone() {
                    Some(why) => Err(why),
                    None if is_begun && !self.files.contains_key(&place) => Err(Unwritten::Lost),
                    None => {
                        self.written += data.len();
                        let file = self.files.entry(place).or_default();
                        let (from, to) = (offset as usize, offset as usize + data.len());
                        file.resize(file.len().max(to), 0);
                        file[from..to].copy_from_slice(&data);
                        Ok(())
                    }
                };
                FileReport::Written { number, index, result }
            }
            FileOrder::Finish { number, place, name, size, root } => {
                // A part that is gone may have its name already.
                let part = self.files.get(&place).or_else(|| self.kept.get(&name));
                let file = part.cloned().unwrap_or_default();
                let is_whole = file.len() as u64 == size && tree(&file).root() == root;
                let result = if self.fails_to_name {
                    Err(Unwritten::Disk("no room".to_owned()))
                } else if is_whole {
                    self.files.remove(&place);
                    self.kept.insert(name.clone(), file);
                    Ok(name.into_bytes())
                } else {
                    Err(Unwritten::Lost)
                };
                FileReport::Finished { number, result }
            }
            FileOrder::Discard { place, .. } => {
                self.files.remove(&place);
                return None;
            }
        })
    }
}

fn tree(file: &[u8]) -> Tree {
    let mut builder = TreeBuilder::default();
    builder.update(file);
    builder.finish().unwrap()
}

/// A file of so many pieces, the last of which is short.
fn bytes(pieces: usize) -> Vec<u8> {
    let length = pieces * PIECE_LEN as usize - 1_234;
    (0..length).map(|at| (at / 7 % 251) as u8 ^ (at / PIECE_LEN as usize) as u8).collect()
}

fn friends() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    town
}

impl Town {
    /// Offers a file; the numbers that the offer has on either side.
    fn offer(
        &mut self,
        from: &'static str,
        to: &'static str,
        name: &str,
        file: &[u8],
    ) -> (MessageNumber, MessageNumber) {
        let (place, tree) = (name.as_bytes().to_vec(), tree(file));
        let offer = Offer::new(file.len() as u64, tree.root(), name).unwrap();
        let shelf = &mut self.people.get_mut(from).unwrap().shelf;
        shelf.files.insert(place.clone(), file.to_vec());
        shelf.trees.insert(place.clone(), tree);
        let to_address = self.address(to);
        let offer = FileCommand::Offer { to: to_address, offer, place, ttl: TTL_DEFAULT };
        let Outcome::Queued(entry) = self.command(from, Command::File(offer)).unwrap() else {
            panic!("an offer is queued")
        };
        self.wait(Span::from_secs(1));
        let received = self.received(to).into_iter().rev();
        let mut offers = received.filter(|entry| entry.content_type == ContentType::FILE);
        (entry.number, offers.next().map_or(MessageNumber(0), |entry| entry.number))
    }

    fn take(&mut self, name: &'static str, number: MessageNumber) -> Result<File, CommandError> {
        let place = format!("part {}", number.0).into_bytes();
        let take = FileCommand::Take { number, place, name: None };
        self.command(name, Command::File(take)).map(file_of)
    }

    fn stop(&mut self, name: &'static str, number: MessageNumber) -> Result<File, CommandError> {
        self.command(name, Command::File(FileCommand::Stop(number))).map(file_of)
    }

    fn standing(&self, name: &str, number: MessageNumber) -> FileStanding {
        self.people[name].agent.file(number).expect("it is known").standing
    }

    fn shelf(&mut self, name: &str) -> &mut Shelf {
        &mut self.people.get_mut(name).unwrap().shelf
    }

    fn file_events(&self, name: &str) -> Vec<FileEvent> {
        let events = self.people[name].events.iter();
        let of_files = |event: &Event| match event {
            Event::File(event) => Some(event.clone()),
            _ => None,
        };
        events.filter_map(of_files).collect()
    }

    fn message_id(&self, name: &str, number: MessageNumber) -> MessageId {
        let person = &self.people[name];
        person.agent.message(&person.store, number).unwrap().unwrap().id.unwrap()
    }
}

fn file_of(outcome: Outcome) -> File {
    match outcome {
        Outcome::File(file) => *file,
        other => panic!("{other:?}"),
    }
}

fn place_of(name: &str) -> FileStanding {
    FileStanding::Here { place: name.as_bytes().to_vec() }
}

/// E37: before they agree nothing of it comes, and nothing is written.
#[test]
fn a_file_comes_whole_to_whoever_takes_it_and_not_before() {
    let mut town = friends();
    let file = bytes(40);
    let (ours, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
    let submitted = town.submitted;
    town.wait(Span::from_days(1));
    assert_eq!((town.submitted, town.shelf("bob").written), (submitted, 0));
    assert_eq!(town.standing("bob", theirs), FileStanding::Open);
    assert_eq!(town.standing("ann", ours), FileStanding::Offered);
    assert!(town.people["bob"].shelf.files.is_empty());

    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(10));
    assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"));
    assert_eq!(town.standing("ann", ours), FileStanding::Given);
    assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
    for name in ["ann", "bob"] {
        let events = town.file_events(name);
        assert!(matches!(events.last(), Some(FileEvent::Done(_))), "{name}: {events:?}");
    }
    assert!(town.node_store.is_empty(Family::Envelopes));
    assert!(town.people["ann"].store.is_empty(Drawer::Outbox));
    assert!(town.people["bob"].store.is_empty(Drawer::FilePieces));
    assert_eq!(town.take("bob", theirs), Err(CommandError::File(FileError::Here(theirs))));
}

/// Pieces are no messages: they have no number, show as nothing, and leave no gap.
#[test]
fn pieces_take_no_place_in_the_conversation() {
    let mut town = friends();
    let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &bytes(20));
    let next = town.send("ann", "bob", "before");
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(10));
    assert_eq!(town.send("ann", "bob", "after").0, next.0 + 1);
    town.wait(Span::from_secs(1));
    let missing = |event: &Event| matches!(event, Event::Missing { .. });
    assert!(!town.people["bob"].events.iter().any(missing));
    assert_eq!(town.history("bob", "ann").len(), 5);
    let sequences: Vec<_> = town.received("bob").iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    let raw = Command::Send {
        to: town.address("bob"),
        content_type: ContentType::TRANSFER,
        body: vec![1],
        ttl: TTL_DEFAULT,
    };
    assert_eq!(town.command("ann", raw), Err(CommandError::Kind(ContentType::TRANSFER)));
}

/// A file never occupies more of the network than its window, whoever is away.
#[test]
fn no_more_pieces_are_on_their_way_than_the_windows_let() {
    let mut town = friends();
    let offers: Vec<_> =
        (0..6).map(|n| town.offer("ann", "bob", &format!("{n}"), &bytes(30))).collect();
    for (at, (_, theirs)) in offers.iter().enumerate() {
        town.disconnect("ann");
        town.take("bob", *theirs).unwrap();
        town.wait(Span::from_secs(1));
        // Ann hears of it when Bob is away.
        town.disconnect("bob");
        town.connect("ann");
        town.wait(Span::from_mins(5));
        let waiting = town.node_store.len(Family::Envelopes);
        // Beyond that each file has one, so that those who stay away do not keep others from theirs.
        let beyond = (at + 1).saturating_sub(GIVING_MAX / WINDOW);
        assert_eq!(waiting, ((at + 1) * WINDOW).min(GIVING_MAX) + beyond, "{at}");
        town.held = Some(("bob", Vec::new()));
        town.connect("bob");
    }
}

/// They are never there at the same time: each time one window comes over.
#[test]
fn a_file_comes_over_between_people_who_are_never_online_together() {
    let mut town = friends();
    let file = bytes(50);
    let (ours, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
    town.disconnect("ann");
    town.take("bob", theirs).unwrap();
    let mut visits = 0;
    while town.standing("bob", theirs) != place_of("cat.jpg") {
        visits += 1;
        assert!(visits < 10);
        town.wait(Span::HOUR);
        town.disconnect("bob");
        town.connect("ann");
        town.wait(Span::HOUR);
        town.disconnect("ann");
        town.connect("bob");
    }
    town.wait(Span::from_mins(1));
    assert_eq!(visits, 50_usize.div_ceil(WINDOW));
    assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
    town.connect("ann");
    town.wait(Span::from_mins(1));
    assert_eq!(town.standing("ann", ours), FileStanding::Given);
}

/// E33: wherever either program is killed, before a write of its store or after one of its host's, both go on.
#[test]
fn a_file_comes_whole_wherever_either_program_ends_in_between() {
    for name in ["ann", "bob"] {
        for at in 0..40 {
            let mut town = friends();
            let file = bytes(20);
            let (ours, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
            town.people.get_mut(name).unwrap().loses_write = Some(at);
            let _killed = town.command_or_nothing("bob", theirs);
            town.wait(Span::from_mins(2));
            if town.standing("bob", theirs) == FileStanding::Open {
                town.take("bob", theirs).unwrap();
                town.wait(Span::from_mins(2));
            }
            assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"), "{name} at {at}");
            assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
            assert_eq!(town.standing("ann", ours), FileStanding::Given, "{name} at {at}");
            assert!(town.node_store.is_empty(Family::Envelopes), "{name} at {at}");
        }
        // One for each piece, and of who takes one for the whole.
        for at in 0..if name == "ann" { 20 } else { 21 } {
            let mut town = friends();
            let file = bytes(20);
            let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
            town.shelf(name).loses_report = Some(at);
            town.take("bob", theirs).unwrap();
            town.wait(Span::from_secs(30));
            assert_ne!(town.standing("bob", theirs), place_of("cat.jpg"), "{name} at {at}");
            town.shelf(name).loses_report = None;
            town.restart(name);
            town.connect(name);
            town.wait(Span::from_mins(2));
            assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"), "{name} at {at}");
            // What was written before is not written again, but for what was being written.
            let most = file.len() + (WINDOW + 1) * PIECE_LEN as usize;
            assert!(town.shelf("bob").written <= most, "{name} at {at}");
        }
    }
}

impl Town {
    /// Takes a file, of which the program may hear no more before it ends.
    fn command_or_nothing(&mut self, name: &'static str, number: MessageNumber) -> Option<File> {
        self.next_id += 1;
        let id = CommandId(self.next_id);
        let place = b"part".to_vec();
        let command = Command::File(FileCommand::Take { number, place, name: None });
        self.tell(name, agent::Input::Command { id, command });
        let done = self.people[name].done.iter().find(|(done, _)| *done == id)?;
        done.1.clone().ok().map(file_of)
    }
}

/// What nobody has read for as long as it could wait is sent again once they are there.
#[test]
fn pieces_that_expire_unread_come_when_their_reader_is_back() {
    let mut town = friends();
    let file = bytes(20);
    let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
    town.disconnect("ann");
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    town.connect("ann");
    town.wait(Span::from_days(20));
    assert!(town.node_store.is_empty(Family::Envelopes), "nothing is sent to nobody again");
    town.connect("bob");
    town.wait(Span::from_mins(180));
    assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"));
    assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
}

/// PROTOCOL §1: a piece is acknowledged when both disks have it, the host's and the agent's.
#[test]
fn no_piece_is_acknowledged_before_it_is_on_disk() {
    let mut town = friends();
    let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &bytes(5));
    town.shelf("bob").loses_report = Some(0);
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_mins(1));
    assert_eq!(town.node_store.len(Family::Envelopes), 5);
    town.shelf("bob").loses_report = None;
    town.restart("bob");
    town.hang_disk("bob");
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert!(!town.node_store.is_empty(Family::Envelopes), "its own disk has nothing of it");
    town.sync_disk("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"));
}

/// E34: the piece itself shows it, and who has sent it is known.
#[test]
fn a_piece_that_is_none_of_the_file_ends_the_transfer_and_is_never_written() {
    let mut town = friends();
    let file = bytes(3);
    let (ours, theirs) = town.offer("bob", "ann", "cat.jpg", &file);
    town.disconnect("bob");
    town.take("ann", theirs).unwrap();
    let id = town.message_id("bob", ours);
    let read = |from: u64, length: usize| {
        Ok::<_, ()>(file[from as usize..from as usize + length].to_vec())
    };
    let good = tree(&file).piece(1, read).unwrap().unwrap();
    let mut bad = good.clone();
    bad.data[7] ^= 1;
    let piece = |piece: Piece| FileNote::Piece { file: id, index: 1, piece }.to_bytes();
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, piece(good));
    town.wait(Span::from_secs(2));
    assert_eq!(town.shelf("ann").written, PIECE_LEN as usize);
    // A second copy of what is here is nothing, however wrong.
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, piece(bad.clone()));
    assert!(matches!(town.standing("ann", theirs), FileStanding::Taking { .. }));
    let other = FileNote::Piece { file: id, index: 0, piece: bad }.to_bytes();
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, other);
    town.wait(Span::from_secs(1));
    assert_eq!(town.standing("ann", theirs), FileStanding::Ended(FileEnd::Forged));
    assert_eq!(town.shelf("ann").written, PIECE_LEN as usize);
    assert!(town.shelf("ann").files.is_empty() && town.shelf("ann").kept.is_empty());
    match town.file_events("ann").last() {
        Some(FileEvent::Ended(file)) => assert_eq!(file.contact, town.address("bob")),
        other => panic!("{other:?}"),
    }
    town.connect("bob");
    town.wait(Span::from_secs(5));
    assert_eq!(town.standing("bob", ours), FileStanding::Ended(FileEnd::Refused));
}

/// Whoever changes a file that they have offered sends nothing of it.
#[test]
fn a_file_that_was_changed_after_it_was_offered_is_not_sent() {
    let mut town = friends();
    let (ours, theirs) = town.offer("ann", "bob", "cat.jpg", &bytes(3));
    town.shelf("ann").files.get_mut(&b"cat.jpg"[..]).unwrap()[100] ^= 1;
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(5));
    assert_eq!(town.standing("ann", ours), FileStanding::Ended(FileEnd::Unreadable));
    assert_eq!(town.standing("bob", theirs), FileStanding::Ended(FileEnd::Unreadable));
    assert_eq!(town.shelf("bob").kept.len(), 0);
    assert!(town.node_store.is_empty(Family::Envelopes));
}

#[test]
fn an_offer_is_refused_given_up_or_withdrawn_and_the_other_side_knows() {
    let mut town = friends();
    let (ours, theirs) = town.offer("ann", "bob", "refused", &bytes(2));
    town.stop("bob", theirs).unwrap();
    town.wait(Span::from_secs(1));
    assert_eq!(town.standing("ann", ours), FileStanding::Ended(FileEnd::Refused));
    assert_eq!(town.take("bob", theirs), Err(CommandError::File(FileError::Ended(theirs))));

    let (ours, theirs) = town.offer("ann", "bob", "given up", &bytes(40));
    town.held = Some(("bob", Vec::new()));
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(5));
    assert_eq!(town.node_store.len(Family::Envelopes), WINDOW);
    town.stop("bob", theirs).unwrap();
    town.wait(Span::from_secs(5));
    assert_eq!(town.standing("ann", ours), FileStanding::Ended(FileEnd::Refused));
    town.held = None;

    let (ours, theirs) = town.offer("ann", "bob", "withdrawn", &bytes(2));
    town.stop("ann", ours).unwrap();
    town.wait(Span::from_secs(1));
    assert_eq!(town.standing("bob", theirs), FileStanding::Ended(FileEnd::Withdrawn));

    let (ours, theirs) = town.offer("ann", "bob", "deleted", &bytes(2));
    town.command("ann", Command::Delete { number: ours, ttl: TTL_DEFAULT }).unwrap();
    town.wait(Span::from_secs(1));
    assert_eq!(town.standing("bob", theirs), FileStanding::Ended(FileEnd::Withdrawn));
    assert!(town.people["bob"].shelf.files.is_empty());
}

#[test]
fn a_disk_that_is_full_halts_a_file_until_its_owner_goes_on() {
    let mut town = friends();
    let file = bytes(20);
    let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
    town.shelf("bob").fails_with = Some(Unwritten::Disk("no space".to_owned()));
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_mins(120));
    let halted = Some("no space".to_owned());
    assert_eq!(town.standing("bob", theirs), FileStanding::Taking { done: 0, halted });
    let ended = town.file_events("bob").into_iter();
    assert_eq!(ended.filter(|event| matches!(event, FileEvent::Ended(_))).count(), 1);
    assert_eq!(town.node_store.len(Family::Envelopes), WINDOW, "what was not written waits");
    town.shelf("bob").fails_with = None;
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_mins(3));
    assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"));
    assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
}

#[test]
fn what_was_written_and_is_gone_is_fetched_again() {
    let mut town = friends();
    let file = bytes(40);
    let (_, theirs) = town.offer("ann", "bob", "cat.jpg", &file);
    town.shelf("bob").loses_report = Some(20);
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(10));
    town.shelf("bob").loses_report = None;
    town.shelf("bob").files.clear();
    town.restart("bob");
    town.connect("bob");
    town.wait(Span::from_mins(5));
    assert_eq!(town.standing("bob", theirs), place_of("cat.jpg"));
    assert_eq!(town.shelf("bob").kept["cat.jpg"], file);
}

/// E36: such an offer is shown as what is not understood, and there is nothing to take.
#[test]
fn an_offer_of_an_impossible_size_makes_no_file() {
    let mut town = friends();
    let good = Offer::new(5, tree(b"hello").root(), "x").unwrap().to_bytes();
    let with = |at: usize, field: &[u8]| {
        let mut body = good.clone();
        body[at..at + field.len()].copy_from_slice(field);
        body
    };
    let huge = (1_u64 << 63).to_be_bytes();
    for body in [
        with(1, &0_u64.to_be_bytes()),
        with(1, &(-1_i64).to_be_bytes()),
        with(1, &huge),
        with(9, &0_u32.to_be_bytes()),
        good[..good.len() - 1].to_vec(),
    ] {
        tell_ann_of(&mut town, 2, ContentType::FILE, body.clone());
        let shown = town.received("ann").pop().unwrap();
        assert_eq!((shown.content_type, &shown.body), (ContentType::FILE, &body));
        let refused = Err(CommandError::File(FileError::NoOffer(shown.number)));
        assert_eq!(town.take("ann", shown.number), refused);
        assert_eq!(town.stop("ann", shown.number), refused);
    }
    assert!(town.people["ann"].agent.files().is_empty());
    tell_ann_of(&mut town, 2, ContentType::FILE, good);
    assert_eq!(town.people["ann"].agent.files().len(), 1);
}

/// Whoever was offered a file gets it, and nobody else; what is asked for beyond its end means nothing.
#[test]
fn pieces_are_given_to_whom_they_were_offered_alone() {
    let mut town = Town::with(&["ann", "bob", "eve"]);
    town.send("bob", "ann", "hello");
    town.send("eve", "ann", "hello");
    town.wait(Span::from_secs(1));
    let file = bytes(3);
    let (ours, _) = town.offer("ann", "bob", "cat.jpg", &file);
    let id = town.message_id("ann", ours);
    let want =
        |first, count| FileNote::Want { file: id, ranges: vec![Range { first, count }] }.to_bytes();
    town.disconnect("bob");
    town.disconnect("eve");
    let large = |town: &Town| {
        let rows = town.people["ann"].store.scan(Drawer::Outbox, &[], &[0xff; 9], 100).unwrap();
        rows.iter().filter(|(_, row)| row.len() > SizeClass::K64.body_len()).count()
    };
    tell_ann_of(&mut town, 3, ContentType::TRANSFER, want(0, 3));
    tell_ann_of(&mut town, 9, ContentType::TRANSFER, want(0, 3));
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, want(0, 4));
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, want(3, 1));
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, b"nonsense".to_vec());
    town.wait(Span::from_secs(1));
    assert_eq!((large(&town), town.standing("ann", ours)), (0, FileStanding::Offered));
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, want(0, 3));
    town.wait(Span::from_secs(1));
    assert_eq!((large(&town), town.standing("ann", ours)), (3, FileStanding::Giving { left: 3 }));
    // Asked for twice it is not sent twice.
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, want(0, 3));
    town.wait(Span::from_secs(1));
    assert_eq!(large(&town), 3);
}

#[test]
fn whoever_waits_for_what_is_not_known_is_told() {
    let mut town = friends();
    let file = MessageId::from_bytes([7; 32]);
    let mut heard = Vec::new();
    for note in [
        FileNote::Want { file, ranges: vec![Range { first: 0, count: 1 }] },
        FileNote::Piece { file, index: 0, piece: Piece { data: vec![1], proof: Vec::new() } },
        FileNote::Whole(file),
        FileNote::Refuse(file),
        FileNote::Gone { file, reason: Reason::Withdrawn },
    ] {
        let before = town.submitted;
        tell_ann_of(&mut town, 2, ContentType::TRANSFER, note.to_bytes());
        town.wait(Span::from_secs(1));
        heard.push(town.submitted - before);
    }
    assert_eq!(heard, [1, 1, 0, 0, 0]);
    assert_eq!(pieces_of(1), 1);
}

/// Whoever acknowledges nothing cannot have the network filled by asking.
#[test]
fn to_ask_for_other_pieces_makes_no_room_in_the_window() {
    let mut town = friends();
    let (ours, _) = town.offer("ann", "bob", "cat.jpg", &bytes(48));
    let file = town.message_id("ann", ours);
    town.disconnect("bob");
    let before = town.submitted;
    for first in [0, 16, 32, 0, 16] {
        let ranges = vec![Range { first, count: 16 }];
        let want = FileNote::Want { file, ranges };
        tell_ann_of(&mut town, 2, ContentType::TRANSFER, want.to_bytes());
        town.wait(Span::from_secs(1));
    }
    assert_eq!(town.submitted - before, WINDOW);
}

/// Nobody can fill what is on its way from us to everybody.
#[test]
fn so_many_answers_wait_for_one_person_and_no_more() {
    let mut town = friends();
    town.disconnect("bob");
    let before = town.submitted;
    for number in 0..60 {
        let file = MessageId::from_bytes([number; 32]);
        let want = FileNote::Want { file, ranges: vec![Range { first: 0, count: 1 }] };
        let piece = Piece { data: vec![1], proof: Vec::new() };
        let piece = FileNote::Piece { file, index: 0, piece };
        let note = if number % 2 == 0 { want } else { piece };
        tell_ann_of(&mut town, 2, ContentType::TRANSFER, note.to_bytes());
        town.wait(Span::from_secs(1));
    }
    assert_eq!(town.submitted - before, WINDOW);
}

#[test]
fn nobodys_word_takes_a_file_away_that_is_here_but_for_its_name() {
    let mut town = friends();
    let (_, theirs) = town.offer("bob", "ann", "cat.jpg", &bytes(3));
    town.shelf("ann").fails_to_name = true;
    town.take("ann", theirs).unwrap();
    town.wait(Span::from_mins(1));
    let halted =
        |standing: FileStanding| matches!(standing, FileStanding::Taking { halted: Some(_), .. });
    assert!(halted(town.standing("ann", theirs)));
    let file = town.message_id("ann", theirs);
    let gone = FileNote::Gone { file, reason: Reason::Withdrawn };
    tell_ann_of(&mut town, 2, ContentType::TRANSFER, gone.to_bytes());
    town.wait(Span::from_secs(1));
    assert!(halted(town.standing("ann", theirs)));
}

#[test]
fn a_contact_who_is_removed_takes_their_files_along() {
    let mut town = friends();
    let (ours, theirs) = town.offer("ann", "bob", "cat.jpg", &bytes(40));
    town.shelf("bob").loses_report = Some(5);
    town.take("bob", theirs).unwrap();
    town.wait(Span::from_secs(5));
    town.shelf("bob").loses_report = None;
    let ann = town.address("ann");
    town.command("bob", Command::RemoveContact(ann)).unwrap();
    assert!(town.people["bob"].shelf.files.is_empty());
    for drawer in [Drawer::Files, Drawer::FilePieces, Drawer::FileWants] {
        assert!(town.people["bob"].store.is_empty(drawer));
    }
    assert!(town.people["bob"].agent.file(theirs).is_none());
    assert!(town.people["ann"].agent.file(ours).is_some());
}
