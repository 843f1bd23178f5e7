//! The tree of BLAKE3 over a file, and pieces that prove themselves by it.
//!
//! Entry types are [`Tree`], which whoever has the file makes proofs of, and [`Piece`], which whoever knows the root
//! verifies by itself. The root is what `b3sum` prints for the file. A proof is the values of the subtrees beside the
//! piece, from left to right as the tree is walked from its root; nothing in it can be left out, added or exchanged.

use std::collections::BTreeMap;
use std::fmt;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hasher};

use super::{PIECE_LEN, place_of};

/// Bytes of a value of the tree.
const HASH_LEN: usize = blake3::OUT_LEN;
/// The most values of a proof: two for each level of the tree over the largest file.
pub const PROOF_HASHES_MAX: usize = 52;
/// Bytes below a value that a [`Tree`] keeps; what lies deeper is hashed again when it is asked for.
const UNIT: u64 = 1 << 20;

const _: () = assert!((PIECE_LEN as usize).is_multiple_of(CHUNK_LEN), "pieces end where leaves do");

/// The root of a file's tree: its BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileRoot([u8; Self::LEN]);

/// A piece of a file with what proves that it belongs there.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub data: Vec<u8>,
    /// The values beside it, at most [`PROOF_HASHES_MAX`].
    pub proof: Vec<[u8; HASH_LEN]>,
}

/// The tree over a file, down to 1 MiB.
#[derive(Clone, Debug)]
pub struct Tree {
    size: u64,
    root: FileRoot,
    /// By where a subtree begins and its length in bytes.
    nodes: BTreeMap<(u64, u64), ChainingValue>,
}

/// Makes a [`Tree`] of a file that is read from its beginning to its end.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    unit: Vec<u8>,
    size: u64,
    units: Vec<ChainingValue>,
}

impl FileRoot {
    /// Length in bytes.
    pub const LEN: usize = HASH_LEN;

    /// A root from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for FileRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FileRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileRoot({})", hex::encode(&self.0[..6]))
    }
}

impl fmt::Debug for Piece {
    /// Everything but what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes, {} hashes)", self.data.len(), self.proof.len())
    }
}

impl Piece {
    /// Whether this is piece `index` of the file of `size` bytes that has this root.
    pub fn is_of(&self, root: &FileRoot, size: u64, index: u32) -> bool {
        let Some((start, length)) = place_of(size, index) else { return false };
        if self.data.len() != length {
            return false;
        }
        if length as u64 == size {
            return self.proof.is_empty() && *blake3::hash(&self.data).as_bytes() == root.0;
        }
        let end = start + length as u64;
        let mut walk = Walk { start, end, data: &self.data, proof: self.proof.iter() };
        let found = walk.root(size);
        // A hash that nobody asked for would be a second form of the same proof.
        found == Some(root.0) && walk.proof.next().is_none()
    }
}

/// A way through the tree with what a piece has.
struct Walk<'a> {
    start: u64,
    end: u64,
    data: &'a [u8],
    proof: std::slice::Iter<'a, [u8; HASH_LEN]>,
}

impl Walk<'_> {
    fn root(&mut self, size: u64) -> Option<[u8; HASH_LEN]> {
        let left_len = left_subtree_len(size);
        let left = self.node(0, left_len)?;
        let right = self.node(left_len, size - left_len)?;
        Some(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
    }

    fn node(&mut self, from: u64, length: u64) -> Option<ChainingValue> {
        match relation(self.start, self.end, from, length) {
            Relation::Beside => self.proof.next().copied(),
            Relation::Within => {
                let at = (from - self.start) as usize;
                Some(value(from, &self.data[at..at + length as usize]))
            }
            Relation::Across => {
                let left_len = left_subtree_len(length);
                let left = self.node(from, left_len)?;
                let right = self.node(from + left_len, length - left_len)?;
                Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
            }
        }
    }
}

/// How a subtree lies to a piece.
enum Relation {
    Beside,
    Within,
    Across,
}

fn relation(start: u64, end: u64, from: u64, length: u64) -> Relation {
    let to = from + length;
    if to <= start || from >= end {
        Relation::Beside
    } else if start <= from && to <= end {
        Relation::Within
    } else {
        Relation::Across
    }
}

fn value(from: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(from).update(bytes).finalize_non_root()
}

impl TreeBuilder {
    /// Takes the bytes that follow.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.unit.len() as u64 == UNIT {
                self.close_unit();
            }
            let room = (UNIT as usize - self.unit.len()).min(bytes.len());
            self.unit.extend_from_slice(&bytes[..room]);
            self.size += room as u64;
            bytes = &bytes[room..];
        }
    }

    fn close_unit(&mut self) {
        let from = self.units.len() as u64 * UNIT;
        self.units.push(value(from, &self.unit));
        self.unit.clear();
    }

    /// The tree over all that was taken; nothing, if that is nothing.
    pub fn finish(mut self) -> Option<Tree> {
        if self.size == 0 {
            return None;
        }
        if self.units.is_empty() {
            let root = FileRoot(*blake3::hash(&self.unit).as_bytes());
            return Some(Tree { size: self.size, root, nodes: BTreeMap::new() });
        }
        self.close_unit();
        let (size, mut nodes) = (self.size, BTreeMap::new());
        let left_len = left_subtree_len(size);
        let left = raise(&self.units, 0, left_len, &mut nodes);
        let right = raise(&self.units, left_len, size - left_len, &mut nodes);
        let root = FileRoot(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes());
        Some(Tree { size, root, nodes })
    }
}

/// The value of a subtree of whole units, which is noted with all below it.
fn raise(
    units: &[ChainingValue],
    from: u64,
    length: u64,
    nodes: &mut BTreeMap<(u64, u64), ChainingValue>,
) -> ChainingValue {
    let value = if length <= UNIT {
        units[(from / UNIT) as usize]
    } else {
        let left_len = left_subtree_len(length);
        let left = raise(units, from, left_len, nodes);
        let right = raise(units, from + left_len, length - left_len, nodes);
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    };
    nodes.insert((from, length), value);
    value
}

impl Tree {
    /// Bytes of the file.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    pub const fn root(&self) -> FileRoot {
        self.root
    }

    /// Piece `index` with its proof; nothing if the file has no such piece. `read` gives the bytes of the file from an
    /// offset on, of which about 1 MiB on either side is asked for.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn piece<E>(
        &self,
        index: u32,
        mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Piece>, E> {
        let Some((start, length)) = place_of(self.size, index) else { return Ok(None) };
        let data = read(start, length)?;
        let mut proof = Vec::new();
        let end = start + length as u64;
        self.gather(start, end, (0, self.size), &mut read, &mut proof)?;
        Ok(Some(Piece { data, proof }))
    }

    fn gather<E>(
        &self,
        start: u64,
        end: u64,
        (from, length): (u64, u64),
        read: &mut impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
        proof: &mut Vec<[u8; HASH_LEN]>,
    ) -> Result<(), E> {
        match relation(start, end, from, length) {
            Relation::Within => {}
            Relation::Across => {
                let left_len = left_subtree_len(length);
                self.gather(start, end, (from, left_len), read, proof)?;
                let right = (from + left_len, length - left_len);
                self.gather(start, end, right, read, proof)?;
            }
            Relation::Beside => proof.push(match self.nodes.get(&(from, length)) {
                Some(known) => *known,
                // Less than a unit: one that a piece lies in has been walked into.
                None => value(from, &read(from, length as usize)?),
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::file::pieces_of;

    /// Bytes in which no two places are alike.
    fn bytes(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn tree(file: &[u8], step: usize) -> Tree {
        let mut builder = TreeBuilder::default();
        file.chunks(step).for_each(|some| builder.update(some));
        builder.finish().unwrap()
    }

    fn piece(tree: &Tree, file: &[u8], index: u32) -> Option<Piece> {
        let read = |from: u64, length: usize| {
            Ok::<_, Infallible>(file[from as usize..from as usize + length].to_vec())
        };
        tree.piece(index, read).unwrap()
    }

    const SIZES: [usize; 12] = [
        1,
        1_023,
        1_024,
        1_025,
        PIECE_LEN as usize - 1,
        PIECE_LEN as usize,
        PIECE_LEN as usize + 1,
        1 << 20,
        (1 << 20) + 1,
        3 << 20,
        (3 << 20) + 777,
        (5 << 20) + 1_024,
    ];

    #[test]
    fn every_piece_of_files_of_every_shape_proves_itself_by_the_hash_of_the_file() {
        for size in SIZES {
            let file = bytes(size);
            let tree = tree(&file, 100_000);
            assert_eq!(tree.root().as_bytes(), blake3::hash(&file).as_bytes(), "{size}");
            assert_eq!(tree.size(), size as u64);
            let (root, size) = (tree.root(), size as u64);
            for index in 0..pieces_of(size) {
                let one = piece(&tree, &file, index).unwrap();
                assert!(one.is_of(&root, size, index), "{size}: {index}");
                assert!(one.proof.len() <= PROOF_HASHES_MAX);
            }
            assert_eq!(piece(&tree, &file, pieces_of(size)), None);
        }
    }

    #[test]
    fn nothing_makes_no_tree_and_the_largest_file_has_the_longest_proof() {
        assert!(TreeBuilder::default().finish().is_none());
        let depth = (super::super::SIZE_MAX / CHUNK_LEN as u64).ilog2() as usize;
        assert!(2 * depth <= PROOF_HASHES_MAX);
    }

    /// E34: whatever is changed in a piece, it is none any more.
    #[test]
    fn a_piece_of_another_place_size_or_file_is_refused() {
        let file = bytes((3 << 20) + 777);
        let (size, tree) = (file.len() as u64, tree(&file, 4_096));
        let root = tree.root();
        let one = piece(&tree, &file, 7).unwrap();
        for index in (0..pieces_of(size) + 2).filter(|index| *index != 7) {
            assert!(!one.is_of(&root, size, index), "{index}");
        }
        // Sizes over which the tree has another shape; where it has the same, the last piece tells them apart.
        for other in
            [1, 7 * u64::from(PIECE_LEN), 8 * u64::from(PIECE_LEN), size / 2, 2 * size, u64::MAX]
        {
            assert!(!one.is_of(&root, other, 7), "{other}");
        }
        let last = pieces_of(size) - 1;
        let end = piece(&tree, &file, last).unwrap();
        assert!(end.is_of(&root, size, last));
        for other in [size - 1, size + 1, size + 1_024] {
            assert!(!end.is_of(&root, other, last), "{other}");
        }
        let mut longer = one.clone();
        longer.proof.push([0; HASH_LEN]);
        assert!(!longer.is_of(&root, size, 7));
        let mut shorter = one.clone();
        shorter.proof.pop();
        assert!(!shorter.is_of(&root, size, 7));
        assert!(!one.is_of(&FileRoot::from_bytes([1; 32]), size, 7));
        assert!(!one.is_of(&root, size, u32::MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_changed_byte_anywhere_in_a_piece_or_its_proof_is_found(
            size in 1_usize..200_000,
            index in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..=255,
        ) {
            let file = bytes(size);
            let tree = tree(&file, 60_000);
            let index = index.index(pieces_of(size as u64) as usize) as u32;
            let mut one = piece(&tree, &file, index).unwrap();
            prop_assert!(one.is_of(&tree.root(), size as u64, index));
            let at = at.index(one.data.len() + HASH_LEN * one.proof.len());
            match at.checked_sub(one.data.len()) {
                None => one.data[at] ^= flip,
                Some(at) => one.proof[at / HASH_LEN][at % HASH_LEN] ^= flip,
            }
            prop_assert!(!one.is_of(&tree.root(), size as u64, index));
        }
    }
}
