//! The digests a runtime policy allows per path, in a form whose look-up is one hash probe.
//!
//! All file names and digests lie in one arena, digests in binary, directories in another one, each once; the index holds an
//! offset and a hash of four bytes each per path. A record is smaller than a cache line as a rule. Keylime compares the text of
//! each list element with the lower-case hexadecimal of the logged digest, whatever its algorithm, so an element that is no
//! such text can never match (`ima.md` §6); it is kept as text for messages and reports.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::{BuildHasher, Hasher as _};

/// Lists of digests by exact path.
#[derive(Debug, Clone)]
pub struct DigestTable {
    /// Per path: number of the directory, length and text of the file name, length of the list, elements.
    records: Vec<u8>,
    /// Where the records are.
    index: HashTable<Place>,
    directories: Directories,
    hasher: FixedState,
}

/// Where a record is, with the hash of its path: a growing table would otherwise read all records again, in random order.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    offset: u32,
}

impl Place {
    /// The hash as the index wants it: it looks at the lowest and at the highest bits.
    fn key(self) -> u64 {
        spread(self.hash)
    }
}

fn spread(hash: u32) -> u64 {
    (u64::from(hash) << 32) | u64::from(hash)
}

/// Directories, up to and with their last slash, by number.
#[derive(Debug, Clone, Default)]
struct Directories {
    text: Vec<u8>,
    ends: Vec<u32>,
    index: HashTable<u32>,
}

/// The table would outgrow its 32-bit offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the digests of the policy take more than 4 GiB")]
pub struct TableFull;

impl Default for DigestTable {
    fn default() -> Self {
        // Paths come from the operator, look-ups cannot change the table: a fixed seed gives an attacker nothing.
        Self {
            records: Vec::new(),
            index: HashTable::new(),
            directories: Directories::default(),
            hasher: FixedState::with_seed(0x6B65_796C_696D_6531),
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

/// The hash of a path in one table.
#[derive(Debug, Clone, Copy, Default)]
pub struct PathHash(u32);

/// Where the list of a path is if the table has one: half of a look-up.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    hash: u32,
    /// The first record whose path has this hash.
    offset: Option<u32>,
}

impl DigestTable {
    /// The list of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<DigestList<'_>> {
        self.get_at(self.candidate(self.hash(path)), path)
    }

    /// The first step of a look-up. Of a large table nearly every look-up waits for memory; when each step is taken for
    /// several paths in a row, the processor waits for all of them at once.
    #[must_use]
    pub fn hash(&self, path: &str) -> PathHash {
        let (directory, name) = split(path);
        PathHash(hash_of(&self.hasher, directory, name))
    }

    /// The second step: looks into the index only.
    #[must_use]
    pub fn candidate(&self, PathHash(hash): PathHash) -> Candidate {
        let offset = self.index.find(spread(hash), |place| place.hash == hash).map(|place| place.offset);
        Candidate { hash, offset }
    }

    /// The last step: the list of the path that `candidate` was made for.
    #[must_use]
    pub fn get_at(&self, Candidate { hash, offset }: Candidate, path: &str) -> Option<DigestList<'_>> {
        let (directory, name) = split(path);
        let first = offset?;
        if self.is_at(first, directory, name) {
            return Some(self.record(first).2);
        }
        let known = |place: &Place| place.hash == hash && self.is_at(place.offset, directory, name);
        let place = self.index.find(spread(hash), known)?;
        Some(self.record(place.offset).2)
    }

    /// Sets the list of a path, in the place of an earlier list of the same path.
    ///
    /// # Errors
    /// [`TableFull`] when the table would outgrow 4 GiB.
    pub fn set<S: AsRef<str>>(&mut self, path: &str, list: &[S]) -> Result<(), TableFull> {
        let offset = u32::try_from(self.records.len()).map_err(|_| TableFull)?;
        let (directory, name) = split(path);
        let number = self.directories.number_of(directory, &self.hasher)?;
        put_number(&mut self.records, number);
        put_number(&mut self.records, name.len());
        self.records.extend_from_slice(name);
        // The room for the list's length is one byte unless the list is long.
        let length_at = self.records.len();
        self.records.push(0);
        for element in list {
            self.put_element(element.as_ref());
        }
        self.close_list(length_at);
        let hash = hash_of(&self.hasher, directory, name);
        let Self { records, index, directories, .. } = self;
        let known = |place: &Place| place.hash == hash && is_at(records, directories, place.offset, directory, name);
        match index.entry(spread(hash), known, |place| place.key()) {
            Entry::Occupied(mut entry) => entry.get_mut().offset = offset,
            Entry::Vacant(entry) => {
                entry.insert(Place { hash, offset });
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

    /// Bytes on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let Directories { text, ends, index } = &self.directories;
        self.records.capacity()
            + self.index.allocation_size()
            + text.capacity()
            + ends.capacity() * size_of::<u32>()
            + index.allocation_size()
    }

    /// Gives back memory that only growing needed.
    pub fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.directories.text.shrink_to_fit();
        self.directories.ends.shrink_to_fit();
        self.index.shrink_to_fit(|place| place.key());
    }

    fn record(&self, offset: u32) -> (usize, &[u8], DigestList<'_>) {
        let (number, name, mut rest) = head(&self.records, offset);
        let list_len = take_number(&mut rest);
        (number, name, DigestList(take(&mut rest, list_len)))
    }

    fn is_at(&self, offset: u32, directory: &[u8], name: &[u8]) -> bool {
        is_at(&self.records, &self.directories, offset, directory, name)
    }

    fn put_element(&mut self, text: &str) {
        if text.len().is_multiple_of(2) && is_lower_hex(text.as_bytes()) {
            put_number(&mut self.records, text.len());
            // The text was just checked to be pairs of hexadecimal digits.
            let _ = crate::ima::hex_field::decode_into(text.as_bytes(), &mut self.records);
        } else {
            put_number(&mut self.records, (text.len() << 1) | 1);
            self.records.extend_from_slice(text.as_bytes());
        }
    }

    fn close_list(&mut self, length_at: usize) {
        let length = self.records.len() - length_at - 1;
        match u8::try_from(length) {
            Ok(single) if single < 0x80 => self.records[length_at] = single,
            Ok(_) | Err(_) => {
                let mut number = Vec::with_capacity(5);
                put_number(&mut number, length);
                self.records.splice(length_at..=length_at, number);
            }
        }
    }
}

impl Directories {
    fn get(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(number).copied().unwrap_or(start);
        &self.text[start as usize..end as usize]
    }

    fn number_of(&mut self, directory: &[u8], hasher: &FixedState) -> Result<usize, TableFull> {
        let hash = hasher.hash_one(directory);
        if let Some(number) = self.index.find(hash, |number| self.get(*number as usize) == directory) {
            return Ok(*number as usize);
        }
        let number = self.ends.len();
        let end = u32::try_from(self.text.len() + directory.len()).map_err(|_| TableFull)?;
        let entry = u32::try_from(number).map_err(|_| TableFull)?;
        self.text.extend_from_slice(directory);
        self.ends.push(end);
        let mut index = std::mem::take(&mut self.index);
        index.insert_unique(hash, entry, |number| hasher.hash_one(self.get(*number as usize)));
        self.index = index;
        Ok(number)
    }
}

/// The directory with its slash, and the file name.
fn split(path: &str) -> (&[u8], &[u8]) {
    let at = memchr::memrchr(b'/', path.as_bytes()).map_or(0, |slash| slash + 1);
    path.as_bytes().split_at(at)
}

fn hash_of(hasher: &FixedState, directory: &[u8], name: &[u8]) -> u32 {
    let mut hash = hasher.build_hasher();
    hash.write(directory);
    hash.write(name);
    let hash = hash.finish();
    #[allow(clippy::cast_possible_truncation, reason = "both halves are in it")]
    let folded = (hash ^ (hash >> 32)) as u32;
    folded
}

fn is_at(records: &[u8], directories: &Directories, offset: u32, directory: &[u8], name: &[u8]) -> bool {
    let (number, known, _) = head(records, offset);
    known == name && directories.get(number) == directory
}

/// Whether all are lower-case hexadecimal digits. Looks at all of them without a branch, which the compiler turns into vector
/// instructions.
fn is_lower_hex(text: &[u8]) -> bool {
    text.iter().fold(true, |all, byte| all & ((byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6)))
}

/// Directory number and name of a record, and what follows them.
fn head(records: &[u8], offset: u32) -> (usize, &[u8], &[u8]) {
    let mut rest = &records[offset as usize..];
    let number = take_number(&mut rest);
    let length = take_number(&mut rest);
    let name = take(&mut rest, length);
    (number, name, rest)
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
        table.set("/b/a", &["22"]).unwrap();
        table.set("a", &["33"]).unwrap();
        let list = table.get("/a").unwrap();
        assert!(list.contains(&[0, 0xFF]) && list.contains(&[]));
        assert!(!list.contains(&[0xAB, 0xCD]) && !list.contains(&[0]));
        assert_eq!(list.iter().map(Element::to_text).collect::<Vec<_>>(), ["00ff", "", "ABCD", "sha256:00"]);
        assert!(table.get("").unwrap().contains(&[0x11]));
        assert!(table.get("/A").is_none());
        assert!(table.get("/b/a").unwrap().contains(&[0x22]) && table.get("a").unwrap().contains(&[0x33]));
        assert!(table.get("/b/").is_none() && table.get("/b").is_none());
        assert_eq!(table.len(), 4);
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
