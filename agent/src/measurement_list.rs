//! The kernel's IMA list, read from where the verifier stopped (`agent-api.md` §2).
//!
//! The list only grows while the machine runs, so places found once stay valid; a few of them are kept, because several
//! verifiers may ask from different entries.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Places kept.
const MAX_PLACES: usize = 33;
/// Largest part of the list sent at once, in bytes.
const MAX_BYTES: u64 = 512 << 20;
/// Bytes read at once while counting.
const COUNT_BUFFER_BYTES: usize = 64 << 10;
/// Where every list starts.
const FIRST: Place = Place { entry: 0, offset: 0 };

/// The open list and known places in it.
#[derive(Debug)]
pub struct MeasurementList {
    file: File,
    places: Vec<Place>,
}

/// Entry `entry` starts at byte `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    entry: u64,
    offset: u64,
}

/// A part of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasurementPart {
    /// Lines from `first_entry` to the end.
    pub text: String,
    /// Number of the first entry in `text`, from 0.
    pub first_entry: u64,
}

impl MeasurementList {
    /// Opens the list; it stays open, because the file is only readable with privileges.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, places: Vec::new() })
    }

    /// The list from entry `entry` on; the whole list if it has fewer entries than that.
    ///
    /// # Errors
    /// The list cannot be read or is longer than any kernel's.
    pub fn read_from(&mut self, entry: u64) -> io::Result<MeasurementPart> {
        let start = self.best_place(entry);
        let content = self.read_at(start.offset)?;
        if let Some(skipped) = start_of_line(&content, entry - start.entry) {
            self.remember(Place { entry, offset: start.offset + skipped as u64 });
            self.remember_end(start, &content);
            return Ok(part(content, skipped, entry));
        }
        if start.offset == 0 {
            return Ok(part(content, 0, 0));
        }
        // The list became shorter than a place in it: it is another list.
        self.places.clear();
        self.read_from_start(entry)
    }

    /// How many complete lines the list has; only what was not counted before is read.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn entry_count(&mut self) -> io::Result<u64> {
        let size = self.file.metadata()?.len();
        // Files of the kernel show no size; a plain file that ends before a place in it is another list.
        if size > 0 && self.places.iter().any(|place| place.offset > size) {
            self.places.clear();
        }
        let start = self.places.iter().max_by_key(|place| place.offset).copied().unwrap_or(FIRST);
        self.file.seek(SeekFrom::Start(start.offset))?;
        let mut end = start;
        let mut position = start.offset;
        let mut buffer = vec![0; COUNT_BUFFER_BYTES];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            for (index, _) in buffer[..read].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                end = Place { entry: end.entry + 1, offset: position + index as u64 + 1 };
            }
            position += read as u64;
        }
        self.remember(end);
        Ok(end.entry)
    }

    fn read_from_start(&mut self, entry: u64) -> io::Result<MeasurementPart> {
        let content = self.read_at(0)?;
        Ok(match start_of_line(&content, entry) {
            Some(skipped) => part(content, skipped, entry),
            None => part(content, 0, 0),
        })
    }

    fn best_place(&self, entry: u64) -> Place {
        let before = self.places.iter().filter(|place| place.entry <= entry);
        before.max_by_key(|place| place.entry).copied().unwrap_or(FIRST)
    }

    fn read_at(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut content = Vec::new();
        (&mut self.file).take(MAX_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }

    fn remember_end(&mut self, start: Place, content: &[u8]) {
        let Some(last) = content.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let lines = content.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.remember(Place { entry: start.entry + lines, offset: start.offset + last as u64 + 1 });
    }

    fn remember(&mut self, place: Place) {
        if place.offset == 0 || self.places.contains(&place) {
            return;
        }
        if self.places.len() == MAX_PLACES {
            self.places.remove(0);
        }
        self.places.push(place);
    }
}

/// Where line `lines` (from 0) starts; none if there are fewer complete lines before it.
fn start_of_line(content: &[u8], lines: u64) -> Option<usize> {
    if lines == 0 {
        return Some(0);
    }
    let wanted = usize::try_from(lines).ok()?;
    let ends = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(index, _)| index + 1).nth(wanted - 1)
}

/// File names need not be UTF-8, JSON must be: foreign bytes are replaced, and the verifier then names that entry.
fn part(content: Vec<u8>, skipped: usize, first_entry: u64) -> MeasurementPart {
    let text = match String::from_utf8(content) {
        Ok(mut text) => text.split_off(skipped),
        Err(error) => String::from_utf8_lossy(&error.as_bytes()[skipped..]).into_owned(),
    };
    MeasurementPart { text, first_entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn list(lines: usize) -> (tempfile::NamedTempFile, MeasurementList) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for line in 0..lines {
            writeln!(file, "10 hash ima-ng sha256:0 /file-{line}").unwrap();
        }
        let list = MeasurementList::open(file.path()).unwrap();
        (file, list)
    }

    #[test]
    fn parts_start_at_the_entry_asked_for() {
        let (mut file, mut list) = list(4);
        let whole = list.read_from(0).unwrap();
        assert_eq!((whole.text.lines().count(), whole.first_entry), (4, 0));
        let two = list.read_from(2).unwrap();
        assert_eq!((two.text.lines().count(), two.first_entry), (2, 2));
        let none = list.read_from(4).unwrap();
        assert_eq!((none.text.as_str(), none.first_entry), ("", 4));
        writeln!(file, "10 hash ima-ng sha256:0 /new").unwrap();
        let new = list.read_from(4).unwrap();
        assert_eq!((new.text.lines().count(), new.first_entry), (1, 4));
        assert!(new.text.ends_with("/new\n"));
    }

    #[test]
    fn an_entry_beyond_the_end_gives_the_whole_list() {
        let (_file, mut list) = list(4);
        assert_eq!(list.read_from(99).unwrap().first_entry, 0);
        list.read_from(4).unwrap();
        let again = list.read_from(99).unwrap();
        assert_eq!((again.text.lines().count(), again.first_entry), (4, 0));
    }

    #[test]
    fn places_are_bounded_and_every_entry_agrees_with_a_plain_read() {
        let (_file, mut list) = list(200);
        let whole = list.read_from(0).unwrap().text;
        for entry in (0..=200).rev().chain(0..=200) {
            let expected = whole.lines().skip(entry as usize).map(|line| format!("{line}\n")).collect::<String>();
            assert_eq!(list.read_from(entry).unwrap(), MeasurementPart { text: expected, first_entry: entry });
            assert!(list.places.len() <= MAX_PLACES);
        }
    }

    #[test]
    fn entries_are_counted_from_where_the_last_count_ended() {
        let (mut file, mut list) = list(3);
        assert_eq!(list.entry_count().unwrap(), 3);
        write!(file, "10 half of a line").unwrap();
        assert_eq!(list.entry_count().unwrap(), 3);
        writeln!(file, " and its end\n10 another").unwrap();
        assert_eq!(list.entry_count().unwrap(), 5);
        assert_eq!(list.read_from(4).unwrap().text, "10 another\n");
        file.as_file().set_len(0).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        writeln!(file, "10 another machine").unwrap();
        assert_eq!(list.entry_count().unwrap(), 1);
    }

    #[test]
    fn foreign_bytes_do_not_stop_the_list() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"10 a\n10 \xFF b\n").unwrap();
        let part = MeasurementList::open(file.path()).unwrap().read_from(1).unwrap();
        assert_eq!(part.text, "10 \u{FFFD} b\n");
    }
}
