//! The digests a runtime policy allows per path, in a form whose look-up is one hash probe.
//!
//! All paths and digests lie in one arena, digests in binary; the index holds an offset of four bytes per path. Keylime
//! compares the text of each list element with the lower-case hexadecimal of the logged digest, whatever its algorithm, so
//! an element that is no such text can never match (`ima.md` §6); it is kept as text for messages and reports.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Lists of digests by exact path.
#[derive(Debug, Clone)]
pub struct DigestTable {
    arena: Vec<u8>,
    index: HashTable<u32>,
    hasher: FixedState,
    elements: usize,
    unmatchable: usize,
}

/// The table would outgrow its 32-bit offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the digests of the policy take more than 4 GiB")]
pub struct TableFull;

impl Default for DigestTable {
    fn default() -> Self {
        // Paths come from the operator, look-ups cannot change the table: a fixed seed gives an attacker nothing.
        Self {
            arena: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(0x6B65_796C_696D_6531),
            elements: 0,
            unmatchable: 0,
        }
    }
}

/// One element of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'t> {
    /// A digest.
    Digest(&'t [u8]),
    /// A text that matches nothing: not lower-case hexadecimal of even length.
    Text(&'t str),
}

impl Element<'_> {
    /// The element as the policy spells it.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            Self::Digest(bytes) => hex::encode(bytes),
            Self::Text(text) => text.to_owned(),
        }
    }
}

/// The list of one path.
#[derive(Debug, Clone, Copy)]
pub struct DigestList<'t>(&'t [u8]);

impl<'t> DigestList<'t> {
    /// Whether the list holds this digest.
    #[must_use]
    pub fn contains(self, digest: &[u8]) -> bool {
        self.iter().any(|element| element == Element::Digest(digest))
    }

    /// The elements in order.
    pub fn iter(self) -> impl Iterator<Item = Element<'t>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let header = take_number(&mut rest);
            let bytes = take(&mut rest, header >> 1);
            Some(if header & 1 == 0 {
                Element::Digest(bytes)
            } else {
                Element::Text(std::str::from_utf8(bytes).unwrap_or_default())
            })
        })
    }
}

impl DigestTable {
    /// The list of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<DigestList<'_>> {
        let hash = self.hasher.hash_one(path.as_bytes());
        let offset = self.index.find(hash, |offset| self.path_at(*offset) == path.as_bytes())?;
        let mut rest = &self.arena[*offset as usize..];
        let path_len = take_number(&mut rest);
        take(&mut rest, path_len);
        let list_len = take_number(&mut rest);
        Some(DigestList(take(&mut rest, list_len)))
    }

    /// Sets the list of a path, in the place of an earlier list of the same path.
    ///
    /// # Errors
    /// [`TableFull`] when the table would outgrow 4 GiB.
    pub fn set<S: AsRef<str>>(&mut self, path: &str, list: &[S]) -> Result<(), TableFull> {
        let offset = u32::try_from(self.arena.len()).map_err(|_| TableFull)?;
        put_number(&mut self.arena, path.len());
        self.arena.extend_from_slice(path.as_bytes());
        // The room for the list's length is one byte unless the list is long.
        let length_at = self.arena.len();
        self.arena.push(0);
        for element in list {
            self.put_element(element.as_ref());
        }
        self.close_list(length_at);
        let Self { arena, index, hasher, .. } = self;
        let hash = hasher.hash_one(path.as_bytes());
        let entry = index.entry(
            hash,
            |known| path_in(arena, *known) == path.as_bytes(),
            |known| hasher.hash_one(path_in(arena, *known)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut slot) => *slot.get_mut() = offset,
            hashbrown::hash_table::Entry::Vacant(slot) => {
                slot.insert(offset);
            }
        }
        Ok(())
    }

    /// Number of paths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the table has no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Number of list elements, and how many of them can never match.
    #[must_use]
    pub fn element_counts(&self) -> (usize, usize) {
        (self.elements, self.unmatchable)
    }

    /// Paths with their lists, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, DigestList<'_>)> {
        self.index.iter().map(|offset| {
            let mut rest = &self.arena[*offset as usize..];
            let path_len = take_number(&mut rest);
            let path = std::str::from_utf8(take(&mut rest, path_len)).unwrap_or_default();
            let list_len = take_number(&mut rest);
            (path, DigestList(take(&mut rest, list_len)))
        })
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.arena.capacity() + self.index.allocation_size()
    }

    /// Gives back memory that only growing needed.
    pub fn shrink(&mut self) {
        let Self { arena, index, hasher, .. } = self;
        arena.shrink_to_fit();
        index.shrink_to_fit(|known| hasher.hash_one(path_in(arena, *known)));
    }

    fn path_at(&self, offset: u32) -> &[u8] {
        path_in(&self.arena, offset)
    }

    fn put_element(&mut self, text: &str) {
        self.elements += 1;
        let lower_hex = text.len().is_multiple_of(2) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if lower_hex {
            put_number(&mut self.arena, text.len());
            // The text was just checked to be pairs of hexadecimal digits.
            let _ = crate::ima::hex_field::decode_into(text.as_bytes(), &mut self.arena);
        } else {
            self.unmatchable += 1;
            put_number(&mut self.arena, (text.len() << 1) | 1);
            self.arena.extend_from_slice(text.as_bytes());
        }
    }

    fn close_list(&mut self, length_at: usize) {
        let length = self.arena.len() - length_at - 1;
        let mut number = Vec::with_capacity(2);
        put_number(&mut number, length);
        if let [single] = number[..] {
            self.arena[length_at] = single;
        } else {
            self.arena.splice(length_at..=length_at, number);
        }
    }
}

fn path_in(arena: &[u8], offset: u32) -> &[u8] {
    let mut rest = &arena[offset as usize..];
    let length = take_number(&mut rest);
    take(&mut rest, length)
}

/// Writes a number with seven bits per byte, low bits first.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(0x80 | u8::try_from(number & 0x7F).unwrap_or_default());
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn take_number(rest: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some((&byte, tail)) = rest.split_first() {
        *rest = tail;
        number |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(length.min(rest.len()));
    *rest = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_exact_paths_and_digests_only() {
        let mut table = DigestTable::default();
        table.set("/a", &["00ff", "", "ABCD", "sha256:00"]).unwrap();
        table.set("", &["11"]).unwrap();
        let list = table.get("/a").unwrap();
        assert!(list.contains(&[0, 0xFF]) && list.contains(&[]));
        assert!(!list.contains(&[0xAB, 0xCD]) && !list.contains(&[0]));
        assert_eq!(list.iter().map(Element::to_text).collect::<Vec<_>>(), ["00ff", "", "ABCD", "sha256:00"]);
        assert!(table.get("").unwrap().contains(&[0x11]));
        assert!(table.get("/A").is_none());
        assert_eq!(table.element_counts(), (5, 2));
    }

    #[test]
    fn the_last_list_of_a_path_counts() {
        let mut table = DigestTable::default();
        table.set("/a", &["00"]).unwrap();
        table.set("/a", &["01"; 300]).unwrap();
        assert_eq!(table.len(), 1);
        assert!(!table.get("/a").unwrap().contains(&[0]));
        assert_eq!(table.get("/a").unwrap().iter().count(), 300);
    }
}
