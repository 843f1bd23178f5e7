//! Whom this node has nothing to do with: nodes by their address, and networks of IP addresses.
//!
//! Entry types are [`Entry`], [`BlockList`], which is read from a file or made by commands, and [`Blocks`], the
//! two lists in force. They are
//! asked before a link is opened or accepted, and again on every link when the list has changed. Keys
//! are free to make, so blocking a node keeps out who does not know of it, and blocking networks keeps
//! out the rest.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use comm_proto::address::Address;
use thiserror::Error;

use crate::metrics;

/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most entries of one list.
pub const ENTRIES_MAX: usize = 65_536;

/// Somebody to have nothing to do with, as people write it: a node by its address, or a network of IP
/// addresses. Written out, it is the same whichever of several spellings it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A node.
    Node(Address),
    /// All addresses of IPv4 that begin like this one, up to so many bits.
    V4(Ipv4Addr, u32),
    /// All addresses of IPv6 that begin like this one, up to so many bits.
    V6(Ipv6Addr, u32),
}

/// It is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this is neither a relay's address (40 hexadecimal digits) nor an IP address or network such as \
     192.0.2.0/24"
)]
pub struct NoEntry;

/// Who is blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockList {
    entries: BTreeSet<Entry>,
    nodes: BTreeSet<Address>,
    v4: Ranges,
    v6: Ranges,
}

/// Addresses from one to another, both included; in order, and none touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u128, u128)>);

/// The list of the file and that of commands, which can be replaced while they are used. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Blocks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    by_file: RwLock<BlockList>,
    by_command: RwLock<BlockList>,
    /// Counts the lists, so that a link need not ask again while it is the same.
    edition: AtomicU64,
}

/// Why a file is no list.
#[derive(Debug, Error)]
pub enum BlockFileError {
    /// It cannot be read.
    #[error("block.file: cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has more bytes or entries than are read.
    #[error(
        "block.file: {} is too long; at most {ENTRIES_MAX} entries and {FILE_BYTES_MAX} bytes are \
         read",
        .0.display()
    )]
    TooLong(PathBuf),
    /// A line names nobody. What it says is not repeated: a file with a key may have been named by
    /// mistake, and errors go to the log.
    #[error(
        "block.file: {}:{line}: this line is neither a node's address (40 hexadecimal digits) nor an \
         IP address or network such as 192.0.2.0/24",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl BlockList {
    /// The list in the file at `path`: on each line an address of a node, an IP address or a network;
    /// what follows a `#` is for people. An IPv4 address may be written as one of IPv6
    /// (`::ffff:192.0.2.1`). An IPv6 address without a prefix stands for its /64, since whoever has one
    /// of these addresses has them all.
    ///
    /// # Errors
    /// When the file cannot be read, is too long, or has a line that is none of these.
    pub fn read(path: &Path) -> Result<Self, BlockFileError> {
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|source| BlockFileError::Unreadable { path: path.to_owned(), source })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(BlockFileError::TooLong(path.to_owned()));
        }
        Self::parse(path, &text)
    }

    /// The list of these.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut list = Self::default();
        entries.into_iter().for_each(|entry| list.add(entry));
        list.settle();
        list
    }

    /// How many nodes and how many stretches of IP addresses are blocked.
    pub fn len(&self) -> usize {
        self.nodes.len() + self.v4.0.len() + self.v6.0.len()
    }

    /// Whether nobody is blocked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn parse(path: &Path, text: &str) -> Result<Self, BlockFileError> {
        let (mut list, mut entries) = (Self::default(), 0);
        for (number, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(BlockFileError::TooLong(path.to_owned()));
            }
            let no_entry =
                |_: NoEntry| BlockFileError::Line { path: path.to_owned(), line: number + 1 };
            list.add(entry.parse().map_err(no_entry)?);
        }
        list.settle();
        Ok(list)
    }

    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Node(address) => drop(self.nodes.insert(address)),
            Entry::V4(ip, prefix) => self.v4.0.extend(range(ip.to_bits().into(), 32, prefix)),
            Entry::V6(ip, prefix) => self.v6.0.extend(range(ip.to_bits(), 128, prefix)),
        }
        self.entries.insert(entry);
    }

    fn settle(&mut self) {
        self.v4.settle();
        self.v6.settle();
    }

    fn has_ip(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            ip @ IpAddr::V4(_) => self.v4.contains(number(ip)),
            ip @ IpAddr::V6(_) => self.v6.contains(number(ip)),
        }
    }
}

impl Ranges {
    /// Puts them in order, and makes one of those that touch.
    fn settle(&mut self) {
        self.0.sort_unstable();
        let mut settled: Vec<(u128, u128)> = Vec::new();
        for (from, to) in std::mem::take(&mut self.0) {
            match settled.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                _ => settled.push((from, to)),
            }
        }
        self.0 = settled;
    }

    fn contains(&self, ip: u128) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= ip);
        after.checked_sub(1).is_some_and(|last| ip <= self.0[last].1)
    }
}

impl Blocks {
    /// Puts another list of the file in force, for new links at once and for open ones with the next thing that
    /// comes or goes over them.
    pub fn set(&self, list: BlockList) {
        self.replace(&self.0.by_file, list);
    }

    /// Does the same with the list of commands.
    pub fn set_own(&self, list: BlockList) {
        self.replace(&self.0.by_command, list);
    }

    /// Whether the file blocks just this.
    pub fn is_listed(&self, entry: &Entry) -> bool {
        read(&self.0.by_file).entries.contains(entry)
    }

    /// Everything that the file blocks, in order.
    pub fn listed(&self) -> Vec<Entry> {
        read(&self.0.by_file).entries.iter().copied().collect()
    }

    /// Whether nothing may come from `ip` or go there; counted if so.
    pub fn block_ip(&self, ip: IpAddr) -> bool {
        counted("network", self.has(|list| list.has_ip(ip)))
    }

    /// Whether nothing may come from this node or go there; counted if so.
    pub fn block_node(&self, address: &Address) -> bool {
        counted("node", self.has(|list| list.nodes.contains(address)))
    }

    /// The number of the lists in force.
    pub(super) fn edition(&self) -> u64 {
        self.0.edition.load(Ordering::Acquire)
    }

    fn replace(&self, place: &RwLock<BlockList>, list: BlockList) {
        *place.write().unwrap_or_else(PoisonError::into_inner) = list;
        self.0.edition.fetch_add(1, Ordering::Release);
    }

    fn has(&self, has: impl Fn(&BlockList) -> bool) -> bool {
        has(&read(&self.0.by_file)) || has(&read(&self.0.by_command))
    }
}

fn read(list: &RwLock<BlockList>) -> RwLockReadGuard<'_, BlockList> {
    list.read().unwrap_or_else(PoisonError::into_inner)
}

impl FromStr for Entry {
    type Err = NoEntry;

    /// An IPv4 address may be written as one of IPv6 (`::ffff:192.0.2.1`). An IPv6 address without a prefix
    /// stands for its /64.
    fn from_str(text: &str) -> Result<Self, NoEntry> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Node(address));
        }
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().map_err(|_| NoEntry)?)),
            None => (text, None),
        };
        let (ip, prefix) = as_callers_are_seen(ip.parse().map_err(|_| NoEntry)?, prefix);
        match ip {
            IpAddr::V4(ip) => {
                let (first, _) = range(ip.to_bits().into(), 32, prefix).ok_or(NoEntry)?;
                // Of 32 bits nothing is lost.
                Ok(Self::V4(Ipv4Addr::from_bits(first as u32), prefix))
            }
            IpAddr::V6(ip) => {
                let (first, _) = range(ip.to_bits(), 128, prefix).ok_or(NoEntry)?;
                Ok(Self::V6(Ipv6Addr::from_bits(first), prefix))
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(address) => write!(f, "{address}"),
            Self::V4(ip, 32) => write!(f, "{ip}"),
            Self::V4(ip, prefix) => write!(f, "{ip}/{prefix}"),
            Self::V6(ip, prefix) => write!(f, "{ip}/{prefix}"),
        }
    }
}

fn counted(by: &'static str, blocked: bool) -> bool {
    if blocked {
        metrics::blocked(by);
    }
    blocked
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// A network in the family in which callers from it are looked up, and as wide as one caller can be.
fn as_callers_are_seen(ip: IpAddr, prefix: Option<u32>) -> (IpAddr, u32) {
    match (ip, ip.to_canonical(), prefix) {
        (IpAddr::V4(_), ip, prefix) => (ip, prefix.unwrap_or(32)),
        (IpAddr::V6(_), ip @ IpAddr::V4(_), None) => (ip, 32),
        (IpAddr::V6(_), ip @ IpAddr::V4(_), Some(prefix @ 96..)) => (ip, prefix - 96),
        (ip, _, prefix) => (ip, prefix.unwrap_or(64)),
    }
}

/// All addresses of `bits` bits that begin with the first `prefix` bits of `ip`.
fn range(ip: u128, bits: u32, prefix: u32) -> Option<(u128, u128)> {
    let free = bits.checked_sub(prefix)?;
    // A shift by all bits is none.
    let rest = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    Some((ip & !rest, ip | rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<BlockList, String> {
        BlockList::parse(Path::new("blocks"), text).map_err(|error| error.to_string())
    }

    fn blocked(list: &BlockList, ip: &str) -> bool {
        list.has_ip(ip.parse().unwrap())
    }

    #[test]
    fn networks_block_all_their_addresses_and_no_others() {
        let list = list("192.0.2.0/24\n198.51.100.7 # one\n2001:db8::/32\n").unwrap();
        for ip in ["192.0.2.0", "192.0.2.255", "198.51.100.7", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert!(blocked(&list, ip), "{ip}");
        }
        for ip in ["192.0.1.255", "192.0.3.0", "198.51.100.6", "2001:db9::", "::1"] {
            assert!(!blocked(&list, ip), "{ip}");
        }
    }

    #[test]
    fn ipv4_addresses_that_are_written_as_ipv6_are_blocked() {
        let list = list("::ffff:192.0.2.1\n::ffff:198.51.100.0/120\n").unwrap();
        for ip in ["192.0.2.1", "::ffff:192.0.2.1", "198.51.100.0", "198.51.100.255"] {
            assert!(blocked(&list, ip), "{ip}");
        }
        for ip in ["192.0.2.0", "192.0.2.2", "198.51.101.0", "::1"] {
            assert!(!blocked(&list, ip), "{ip}");
        }
        assert!(self::list("::ffff:192.0.2.1/129").is_err());
    }

    #[test]
    fn an_ipv6_address_without_a_prefix_blocks_its_64() {
        let list = list("2001:db8:0:7::1\n2001:db8:0:9::1/128\n").unwrap();
        for ip in ["2001:db8:0:7::", "2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:9::1"] {
            assert!(blocked(&list, ip), "{ip}");
        }
        for ip in ["2001:db8:0:6::1", "2001:db8:0:8::", "2001:db8:0:9::2"] {
            assert!(!blocked(&list, ip), "{ip}");
        }
    }

    #[test]
    fn everything_of_one_family_leaves_the_other_alone() {
        let (v4, v6) = (list("0.0.0.0/0").unwrap(), list("::/0").unwrap());
        assert!(blocked(&v4, "192.0.2.1") && !blocked(&v4, "2001:db8::1"));
        assert!(blocked(&v6, "2001:db8::1") && !blocked(&v6, "192.0.2.1"));
        assert!(blocked(&v4, "255.255.255.255") && blocked(&v4, "0.0.0.0"));
        assert!(blocked(&v6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn networks_within_each_other_and_beside_each_other_are_one() {
        let list = list("10.0.1.0/24\n10.0.0.0/24\n10.0.0.128/25\n10.0.0.5\n").unwrap();
        assert_eq!(list.len(), 1);
        assert!(blocked(&list, "10.0.0.200") && blocked(&list, "10.0.1.255"));
        assert!(!blocked(&list, "10.0.2.0") && !blocked(&list, "9.255.255.255"));
    }

    #[test]
    fn nodes_are_blocked_by_their_address() {
        let blocks = Blocks::default();
        let address = Address::from_bytes([0xab; 20]);
        assert!(!blocks.block_node(&address));
        let edition = blocks.edition();
        blocks.set(list(&format!("# people\n\n  {} \n", "AB".repeat(20))).unwrap());
        assert!(blocks.block_node(&address));
        assert!(!blocks.block_node(&Address::from_bytes([0xac; 20])));
        assert_ne!(blocks.edition(), edition);
    }

    #[test]
    fn a_line_that_names_nobody_is_named_by_its_number_alone() {
        for text in
            ["192.0.2.0/33", "192.0.2", "2001:db8::/129", "abcd", "host.example", "1.2.3.4/"]
        {
            let error = list(&format!("\n10.0.0.1\n{text}\n")).unwrap_err();
            assert!(error.starts_with("block.file: blocks:3: this line is neither "), "{error}");
        }
        // Such as the secret of the network, whose file was named by mistake.
        let secret = "5e".repeat(32);
        assert!(!list(&secret).unwrap_err().contains("5e5e"));
    }

    #[test]
    fn an_entry_is_written_in_one_way_however_it_was_read() {
        for (read, written) in [
            ("AB".repeat(20).as_str(), "ab".repeat(20).as_str()),
            ("192.0.2.9", "192.0.2.9"),
            ("192.0.2.9/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.9", "192.0.2.9"),
            ("::ffff:192.0.2.9/120", "192.0.2.0/24"),
            ("2001:db8:0:7::1", "2001:db8:0:7::/64"),
            ("2001:db8:0:7::1/128", "2001:db8:0:7::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let entry: Entry = read.parse().unwrap();
            assert_eq!(entry.to_string(), written);
            assert_eq!(written.parse(), Ok(entry));
        }
        for wrong in ["", "nobody", "192.0.2.0/33", "192.0.2.0/", "::1/129", "192.0.2.0/-1"] {
            assert_eq!(wrong.parse::<Entry>(), Err(NoEntry), "{wrong}");
        }
    }

    #[test]
    fn a_list_has_a_longest_length() {
        let lines = |count: u32| (0..count).map(|n| format!("{n:040x}\n")).collect::<String>();
        assert_eq!(list(&lines(65_536)).map(|list| list.len()), Ok(65_536));
        assert!(list(&lines(65_537)).unwrap_err().contains("too long"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocks");
        std::fs::write(&path, "#".repeat((4 << 20) + 1)).unwrap();
        assert!(matches!(BlockList::read(&path), Err(BlockFileError::TooLong(_))));
        let missing = BlockList::read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("block.file: cannot read "), "{missing}");
    }
}
