//! Makes logs whose end a loss of power has garbled safe to be read back.
//!
//! Entry function is [`defuse`]; [`damaged`] only looks. RocksDB's reader takes damage for the end of a log, with one exception:
//! at a header of a kind that only logs which are used again have, it stands still for ever. Ours are
//! never used again, so such a header is no record of ours but chance, and becomes one of no kind,
//! which is damage like any other. Nothing else is judged here; checksums are the reader's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A record lies in one block or is split at its end.
const BLOCK_LEN: usize = 32 << 10;
/// Checksum, length and kind.
const HEADER_LEN: usize = 4 + 2 + 1;
/// Where in a header the length stands, in two bytes, little-endian.
const LENGTH_AT: usize = 4;
/// Where in a header the kind stands.
const KIND_AT: usize = 6;
/// The kinds of records in logs that are used again.
const KINDS_USED_AGAIN: [u8; 6] = [5, 6, 7, 8, 11, 131];
/// A kind that no record has.
const NO_KIND: u8 = 0x7f;

/// Looks through all logs in the store's directory, which no other process may use meanwhile.
pub(super) fn defuse(store: &Path) -> io::Result<()> {
    for path in logs(store)? {
        let mut file = File::open(&path)?;
        while let Some(at) = next_used_again(&mut file)? {
            tracing::warn!(log = %path.display(), "the end of a log is damaged");
            let log = OpenOptions::new().write(true).open(&path)?;
            log.write_all_at(&[NO_KIND], at + KIND_AT as u64)?;
        }
    }
    Ok(())
}

/// A log in the store's directory that its reader could not be let loose on, if there is one.
pub(super) fn damaged(store: &Path) -> io::Result<Option<PathBuf>> {
    for path in logs(store)? {
        if next_used_again(&mut File::open(&path)?)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn logs(store: &Path) -> io::Result<Vec<PathBuf>> {
    let files = match fs::read_dir(store) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: Vec<_> = files.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    Ok(paths.into_iter().filter(is_log).collect())
}

/// The next such header, from the block on that is to be read next; one in a block at the most.
fn next_used_again(log: &mut File) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK_LEN);
    loop {
        let start = log.stream_position()?;
        block.clear();
        if log.by_ref().take(BLOCK_LEN as u64).read_to_end(&mut block)? == 0 {
            return Ok(None);
        }
        if let Some(at) = used_again(&block) {
            return Ok(Some(start + at as u64));
        }
    }
}

/// Where the reader would stand still, if it came so far: the first header of such a kind that is
/// reached from the start of the block by the lengths of records.
fn used_again(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_LEN) {
        let length = u16::from_le_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]);
        if KINDS_USED_AGAIN.contains(&header[KIND_AT]) {
            return Some(at);
        }
        if (length, header[KIND_AT]) == (0, 0) {
            return None;
        }
        at += HEADER_LEN + usize::from(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let [low, high] = length.to_le_bytes();
        [&[1, 2, 3, 4, low, high, kind][..], &vec![6; length.into()]].concat()
    }

    #[test]
    fn only_a_header_that_lengths_lead_to_is_touched() {
        for kind in KINDS_USED_AGAIN {
            let block = [record(1, 300), record(2, 0), record(kind, 9)].concat();
            assert_eq!(used_again(&block), Some(314));
        }
        // The bytes within a record look like such kinds.
        assert_eq!(used_again(&[record(1, 300), record(4, 5)].concat()), None);
        assert_eq!(used_again(&[vec![0; HEADER_LEN], record(6, 0)].concat()), None);
        assert_eq!(used_again(&record(1, 300)[..200]), None);
        assert_eq!(used_again(&[]), None);
    }

    #[test]
    fn a_header_in_any_block_becomes_one_of_no_kind_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = record(1, (BLOCK_LEN - HEADER_LEN) as u16);
        bytes.extend([record(1, 40), record(7, 50)].concat());
        fs::write(dir.path().join("000004.log"), &bytes).unwrap();
        fs::write(dir.path().join("000005.sst"), &bytes).unwrap();
        defuse(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("000005.sst")).unwrap(), bytes);
        bytes[BLOCK_LEN + HEADER_LEN + 40 + KIND_AT] = NO_KIND;
        assert_eq!(fs::read(dir.path().join("000004.log")).unwrap(), bytes);
        defuse(&dir.path().join("not there yet")).unwrap();
    }
}
