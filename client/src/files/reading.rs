//! Files of ours that are offered: what they are, and pieces of them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use comm_proto::agent::{FileOrder, FileReport, MessageNumber};
use comm_proto::file::{FileRoot, Offer, OfferError, Piece, SIZE_MAX, Tree, TreeBuilder};
use tokio::sync::mpsc;

use super::{FileProblem, path_of, place_of};

/// Files that are kept open. Of more, all are closed and opened again.
const OPEN_MAX: usize = 16;
/// Bytes that are read at a time.
const BLOCK_LEN: usize = 1 << 20;
/// Bytes in front of a path that say when the file was last changed.
const CHANGED_LEN: usize = 16;

/// Files that are being given.
#[derive(Debug, Default)]
pub(super) struct Sources {
    open: BTreeMap<MessageNumber, Source>,
}

#[derive(Debug)]
struct Source {
    file: File,
    changed: [u8; CHANGED_LEN],
    tree: Tree,
}

impl Sources {
    /// Reads until nobody wants anything any more.
    pub(super) fn serve(
        mut self,
        mut orders: mpsc::Receiver<FileOrder>,
        reports: &mpsc::Sender<FileReport>,
    ) {
        while let Some(order) = orders.blocking_recv() {
            let FileOrder::Read { number, index, place, size, root } = order else { continue };
            let result = self.read(number, index, &place, (size, root));
            if result.is_err() {
                self.open.remove(&number);
            }
            if reports.blocking_send(FileReport::Read { number, index, result }).is_err() {
                return;
            }
        }
    }

    fn read(
        &mut self,
        number: MessageNumber,
        index: u32,
        place: &[u8],
        (size, root): (u64, FileRoot),
    ) -> Result<Piece, String> {
        if !self.open.contains_key(&number) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(number, Source::open(place, size, &root)?);
        }
        let source = self.open.get(&number).ok_or("it is not open")?;
        source.piece(index)
    }
}

impl Source {
    /// Opens a file as it was when it was offered.
    fn open(place: &[u8], size: u64, root: &FileRoot) -> Result<Self, String> {
        let (changed, path) = place.split_first_chunk().ok_or("its path is cut off")?;
        let file = File::open(path_of(path)).map_err(|error| error.to_string())?;
        let source =
            Self { tree: hash(&file).map_err(|error| error.to_string())?, file, changed: *changed };
        source.check()?;
        if source.tree.size() != size || source.tree.root() != *root {
            return Err(CHANGED.to_owned());
        }
        Ok(source)
    }

    fn check(&self) -> Result<(), String> {
        let now = self.file.metadata().map_err(|error| error.to_string())?;
        let is_same = now.len() == self.tree.size() && changed_at(&now) == self.changed;
        if is_same { Ok(()) } else { Err(CHANGED.to_owned()) }
    }

    fn piece(&self, index: u32) -> Result<Piece, String> {
        self.check()?;
        let read = |from: u64, length: usize| {
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, from).map(|()| bytes)
        };
        let piece = self.tree.piece(index, read).map_err(|error| error.to_string())?;
        piece.ok_or_else(|| "it has no such piece".to_owned())
    }
}

const CHANGED: &str = "it was changed after it was offered";

/// What a file is, and where it is found again as long as it is not changed.
pub(super) fn describe(path: &Path) -> Result<(Offer, Vec<u8>), FileProblem> {
    let unreadable = |error: io::Error| FileProblem::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let whole: PathBuf = fs::canonicalize(path).map_err(unreadable)?;
    // Nobody waits for whoever might write into a pipe.
    if !fs::metadata(&whole).map_err(unreadable)?.is_file() {
        return Err(FileProblem::NoFile(path.to_owned()));
    }
    let file = File::open(&whole).map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    match before.len() {
        0 => return Err(FileProblem::Empty(path.to_owned())),
        size if size > SIZE_MAX => {
            return Err(FileProblem::TooLarge { path: path.to_owned(), size });
        }
        _ => {}
    }
    let tree = hash(&file).map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    if changed_at(&before) != changed_at(&after) || tree.size() != after.len() {
        return Err(FileProblem::Changing(path.to_owned()));
    }
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let offer = Offer::new(tree.size(), tree.root(), &name);
    let offer = offer.map_err(|_: OfferError| FileProblem::Changing(path.to_owned()))?;
    Ok((offer, [&changed_at(&after)[..], &place_of(&whole)].concat()))
}

/// The tree over a file, up to one byte more than may be sent.
pub(super) fn hash(file: &File) -> io::Result<Tree> {
    let (mut builder, mut block) = (TreeBuilder::default(), vec![0; BLOCK_LEN]);
    let mut left = file.take(SIZE_MAX + 1);
    loop {
        match left.read(&mut block) {
            Ok(0) => break,
            Ok(length) => builder.update(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    builder.finish().ok_or_else(|| io::Error::other("it is empty"))
}

fn changed_at(metadata: &Metadata) -> [u8; CHANGED_LEN] {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let mut bytes = [0; CHANGED_LEN];
    bytes[..8].copy_from_slice(&seconds.to_be_bytes());
    bytes[8..].copy_from_slice(&nanoseconds.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_described_read_and_noticed_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cat.jpg");
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let (offer, place) = describe(&link).unwrap();
        assert_eq!((offer.name(), offer.size()), ("cat.jpg", 200_000));
        let mut sources = Sources::default();
        let number = MessageNumber(1);
        let what = (offer.size(), *offer.root());
        for index in 0..4 {
            let piece = sources.read(number, index, &place, what).unwrap();
            assert!(piece.is_of(offer.root(), offer.size(), index));
        }
        assert!(sources.read(number, 4, &place, what).is_err());
        fs::write(&path, &bytes[1..]).unwrap();
        assert_eq!(sources.read(number, 0, &place, what), Err(CHANGED.to_owned()));
        assert_eq!(Sources::default().read(number, 0, &place, what), Err(CHANGED.to_owned()));
        fs::remove_file(&path).unwrap();
        assert!(Sources::default().read(number, 0, &place, what).is_err());
    }

    #[test]
    fn what_is_no_file_or_empty_or_not_there_cannot_be_offered() {
        let dir = tempfile::tempdir().unwrap();
        let no_file = FileProblem::NoFile(dir.path().to_owned());
        assert_eq!(describe(dir.path()), Err(no_file));
        let path = dir.path().join("x");
        assert!(matches!(describe(&path), Err(FileProblem::Unreadable { .. })));
        fs::write(&path, b"").unwrap();
        assert_eq!(describe(&path), Err(FileProblem::Empty(path.clone())));
        // Holes take no room.
        let huge = File::create(&path).unwrap();
        huge.set_len(SIZE_MAX + 1).unwrap();
        assert!(matches!(describe(&path), Err(FileProblem::TooLarge { .. })));
    }
}
