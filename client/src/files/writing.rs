//! Files that come: written piece by piece beside where they will be, and named when they are whole.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use comm_proto::agent::{FileOrder, FileReport, MessageNumber, Unwritten};
use comm_proto::file::FileRoot;
use tokio::sync::mpsc;

use super::reading::hash;
use super::{path_of, place_of};

/// Files that are kept open. Of more, all are closed and opened again.
const OPEN_MAX: usize = 16;
/// Pieces that are made durable together.
const TOGETHER_MAX: usize = 32;
/// How many files of one name a directory may have before another is refused.
const SAME_NAME_MAX: u32 = 1_000;

/// Files that are coming.
#[derive(Debug, Default)]
pub(super) struct Parts {
    open: BTreeMap<MessageNumber, File>,
}

impl Parts {
    /// Writes until nobody wants anything any more.
    pub(super) fn serve(
        mut self,
        mut orders: mpsc::Receiver<FileOrder>,
        reports: &mpsc::Sender<FileReport>,
    ) {
        while let Some(order) = orders.blocking_recv() {
            let mut together = vec![order];
            while together.len() < TOGETHER_MAX
                && let Ok(order) = orders.try_recv()
            {
                together.push(order);
            }
            for report in self.obey(together) {
                if reports.blocking_send(report).is_err() {
                    return;
                }
            }
        }
    }

    fn obey(&mut self, orders: Vec<FileOrder>) -> Vec<FileReport> {
        let (mut reports, mut written) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                FileOrder::Write { number, index, place, offset, data, is_begun } => {
                    if self.open.len() >= OPEN_MAX && !self.open.contains_key(&number) {
                        reports.extend(self.sync(std::mem::take(&mut written)));
                        self.open.clear();
                    }
                    match self.write(number, &path_of(&place), (offset, &data), is_begun) {
                        Ok(()) => written.push((number, index)),
                        Err(why) => {
                            // One that the disk refuses stays open: it has what was written before.
                            if why == Unwritten::Lost {
                                self.open.remove(&number);
                            }
                            reports.push(FileReport::Written { number, index, result: Err(why) });
                        }
                    }
                }
                FileOrder::Finish { number, place, name, size, root } => {
                    reports.extend(self.sync(std::mem::take(&mut written)));
                    self.open.remove(&number);
                    let result = finish(&path_of(&place), &name, size, &root);
                    let result = result.map(|path| place_of(&path));
                    reports.push(FileReport::Finished { number, result });
                }
                FileOrder::Discard { number, place } => {
                    self.open.remove(&number);
                    // It may never have been begun.
                    let _gone = fs::remove_file(path_of(&place));
                }
                FileOrder::Read { .. } => {}
            }
        }
        reports.extend(self.sync(written));
        reports
    }

    fn write(
        &mut self,
        number: MessageNumber,
        path: &Path,
        (offset, data): (u64, &[u8]),
        is_begun: bool,
    ) -> Result<(), Unwritten> {
        let file = match self.open.entry(number) {
            Entry::Occupied(file) => file.into_mut(),
            Entry::Vacant(none) if is_begun => none.insert(reopen(path)?),
            Entry::Vacant(none) => none.insert(begin(path).map_err(on_disk(path))?),
        };
        // Whoever removes it while it is open has it begun anew.
        if file.metadata().map_err(on_disk(path))?.nlink() == 0 {
            return Err(Unwritten::Lost);
        }
        file.write_all_at(data, offset).map_err(on_disk(path))
    }

    /// Makes what was written durable: one sync for all pieces of a file.
    fn sync(&mut self, written: Vec<(MessageNumber, u32)>) -> Vec<FileReport> {
        let numbers: BTreeSet<_> = written.iter().map(|(number, _)| *number).collect();
        let mut failed = BTreeMap::new();
        for number in numbers {
            match self.open.get(&number).map(File::sync_data) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    failed.insert(number, Unwritten::Disk(error.to_string()));
                }
                // It was lost after that.
                None => {
                    failed.insert(number, Unwritten::Lost);
                }
            }
        }
        let report = |(number, index)| {
            let result = failed.get(&number).cloned().map_or(Ok(()), Err);
            FileReport::Written { number, index, result }
        };
        written.into_iter().map(report).collect()
    }
}

/// Makes a new part. What stands there under its name is of a run that has written nothing down of it, or is somebody
/// else's trap: it is never written into.
fn begin(path: &Path) -> io::Result<File> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Opens a part that was begun before.
fn reopen(path: &Path) -> Result<File, Unwritten> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Unwritten::Lost),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unwritten::Lost),
        Err(error) => return Err(on_disk(path)(error)),
    }
    OpenOptions::new().read(true).write(true).open(path).map_err(on_disk(path))
}

/// Checks a part that should be whole and gives it its name, or the first one like it that is free; where it is then.
fn finish(part: &Path, name: &str, size: u64, root: &FileRoot) -> Result<PathBuf, Unwritten> {
    let dir = part.parent().unwrap_or(Path::new("/"));
    let file = match reopen(part) {
        Ok(file) => file,
        // Perhaps it has its name already, and the program ended before it wrote that down.
        Err(Unwritten::Lost) => return find_named(dir, name, size, root).ok_or(Unwritten::Lost),
        Err(why) => return Err(why),
    };
    let tree = hash(&file).map_err(on_disk(part))?;
    if tree.size() != size || tree.root() != *root {
        return Err(Unwritten::Lost);
    }
    file.sync_all().map_err(on_disk(part))?;
    for number in 0..SAME_NAME_MAX {
        let path = dir.join(numbered(name, number));
        match give_name(part, &path) {
            Ok(()) => {
                File::open(dir).and_then(|dir| dir.sync_all()).map_err(on_disk(&path))?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(on_disk(&path)(error)),
        }
    }
    let text = format!("there are {SAME_NAME_MAX} files called {name} in {}", dir.display());
    Err(Unwritten::Disk(text))
}

/// Moves a part to a path where nothing is.
fn give_name(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Ok(()) => fs::remove_file(part),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(part, path) => {
            fs::remove_file(part)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links: the name is taken by an empty file of ours first.
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            fs::rename(part, path)
        }
    }
}

/// Whether both are one file, which had its name when the program ended.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path| fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

fn find_named(dir: &Path, name: &str, size: u64, root: &FileRoot) -> Option<PathBuf> {
    for number in 0..SAME_NAME_MAX {
        let path = dir.join(numbered(name, number));
        let metadata = fs::symlink_metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() == size {
            let tree = File::open(&path).and_then(|file| hash(&file)).ok()?;
            if tree.root() == *root {
                return Some(path);
            }
        }
    }
    None
}

/// `cat.jpg`, `cat (2).jpg`, `cat (3).jpg` …
fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, ending))) if !stem.is_empty() => {
            format!("{stem} ({}).{ending}", number + 1)
        }
        _ => format!("{name} ({})", number + 1),
    }
}

fn on_disk(path: &Path) -> impl Fn(io::Error) -> Unwritten {
    let path = path.to_owned();
    move |error| Unwritten::Disk(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use comm_proto::file::{PIECE_LEN, TreeBuilder};

    use super::*;

    const NUMBER: MessageNumber = MessageNumber(7);

    fn write(part: &Path, offset: u64, data: &[u8], is_begun: bool) -> FileOrder {
        let (number, index) = (NUMBER, (offset / u64::from(PIECE_LEN)) as u32);
        FileOrder::Write {
            number,
            index,
            place: place_of(part),
            offset,
            data: data.to_vec(),
            is_begun,
        }
    }

    fn finished(
        parts: &mut Parts,
        part: &Path,
        name: &str,
        bytes: &[u8],
    ) -> Result<PathBuf, Unwritten> {
        let mut builder = TreeBuilder::default();
        builder.update(bytes);
        let root = builder.finish().unwrap().root();
        let (place, name, size) = (place_of(part), name.to_owned(), bytes.len() as u64);
        let order = FileOrder::Finish { number: NUMBER, place, name, size, root };
        match parts.obey(vec![order]).pop() {
            Some(FileReport::Finished { result, .. }) => result.map(|place| path_of(&place)),
            other => panic!("{other:?}"),
        }
    }

    fn is_written(reports: &[FileReport]) -> bool {
        reports.iter().all(|report| matches!(report, FileReport::Written { result: Ok(()), .. }))
    }

    /// E35: whatever is there keeps its name and what is in it.
    #[test]
    fn a_file_gets_its_name_when_it_is_whole_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("downloads");
        let part = into.join(".comm-x.part");
        let bytes = vec![7; PIECE_LEN as usize + 5];
        let mut names = Vec::new();
        for _ in 0..3 {
            let mut parts = Parts::default();
            let (first, last) = bytes.split_at(PIECE_LEN as usize);
            let orders =
                vec![write(&part, PIECE_LEN.into(), last, false), write(&part, 0, first, false)];
            let reports = parts.obey(orders);
            assert!(reports.len() == 2 && is_written(&reports), "{reports:?}");
            let named = finished(&mut parts, &part, "cat.jpg", &bytes).unwrap();
            assert_eq!(fs::read(&named).unwrap(), bytes);
            assert!(!part.exists());
            let mode = fs::metadata(&named).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
            names.push(named.strip_prefix(&into).unwrap().to_owned());
        }
        assert_eq!(names, ["cat.jpg", "cat (2).jpg", "cat (3).jpg"].map(PathBuf::from));
        // The program ended before it had written down that the last was named.
        let again = finished(&mut Parts::default(), &part, "cat.jpg", &bytes).unwrap();
        assert!(again.starts_with(&into) && again.exists());
    }

    #[test]
    fn a_part_is_never_written_through_a_link_and_is_missed_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (part, victim) = (dir.path().join(".part"), dir.path().join("victim"));
        fs::write(&victim, b"precious").unwrap();
        symlink(&victim, &part).unwrap();
        let mut parts = Parts::default();
        assert!(is_written(&parts.obey(vec![write(&part, 0, b"data", false)])));
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&part).unwrap().is_file());

        let lost = |reports: Vec<FileReport>| {
            matches!(reports[..], [FileReport::Written { result: Err(Unwritten::Lost), .. }])
        };
        fs::remove_file(&part).unwrap();
        assert!(lost(parts.obey(vec![write(&part, 4, b"more", true)])));
        assert!(lost(Parts::default().obey(vec![write(&part, 4, b"more", true)])));
        symlink(&victim, &part).unwrap();
        assert!(lost(Parts::default().obey(vec![write(&part, 4, b"more", true)])));
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn what_is_not_what_was_offered_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join(".part");
        let mut parts = Parts::default();
        parts.obey(vec![write(&part, 0, b"dat", false)]);
        assert_eq!(finished(&mut parts, &part, "x", b"data"), Err(Unwritten::Lost));
        assert!(!dir.path().join("x").exists());
        let place = place_of(&part);
        assert!(parts.obey(vec![FileOrder::Discard { number: NUMBER, place }]).is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_piece_that_the_disk_refuses_takes_no_other_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let write = |index: u32, offset: u64| FileOrder::Write {
            number: MessageNumber(1),
            index,
            place: place_of(&path),
            offset,
            data: vec![index as u8 + 1; 4],
            is_begun: false,
        };
        // No file has a byte there.
        let orders = vec![write(0, 0), write(1, u64::MAX), write(2, 4)];
        let reports = Parts::default().obey(orders);
        let is_written = |which: u32| {
            reports.iter().any(|report| {
                matches!(report, FileReport::Written { index, result: Ok(()), .. } if *index == which)
            })
        };
        assert_eq!([0, 1, 2].map(is_written), [true, false, true]);
        assert_eq!(fs::read(&path).unwrap(), [1, 1, 1, 1, 3, 3, 3, 3]);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let part = file.join(".part");
        match &Parts::default().obey(vec![write(&part, 0, b"x", false)])[..] {
            [FileReport::Written { result: Err(Unwritten::Disk(text)), .. }] => {
                assert!(text.contains(".part"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_stands_before_the_ending() {
        let names = [("a.b.c", "a.b (2).c"), ("plain", "plain (2)"), (".x", ".x (2)")];
        for (name, second) in names {
            assert_eq!(
                (numbered(name, 0), numbered(name, 1)),
                (name.to_owned(), second.to_owned())
            );
        }
    }
}
