//! Headers of RPM packages (RPM V4 package format: lead, signature header, header).
//!
//! Only what names files and their digests is read. Sizes are checked before anything is allocated for them.

use std::io;

/// Bytes of the lead.
const LEAD: usize = 96;
/// Bytes of a header's preamble: magic, reserved bytes, number of entries, bytes of data.
const PREAMBLE: usize = 16;
/// Bytes of an entry of the index.
const INDEX_ENTRY: usize = 16;
const LEAD_MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
/// Most entries of an index, as RPM itself allows.
const MAX_ENTRIES: usize = 0xffff;
/// Most bytes of data of a header, as RPM itself allows.
const MAX_DATA: usize = 256 << 20;

mod tag {
    pub const OLD_FILE_NAMES: u32 = 1027;
    pub const FILE_DIGESTS: u32 = 1035;
    pub const DIRECTORY_INDEXES: u32 = 1116;
    pub const BASE_NAMES: u32 = 1117;
    pub const DIRECTORY_NAMES: u32 = 1118;
}

const TYPE_INT32: u32 = 4;
const TYPE_STRING_ARRAY: u32 = 8;

/// Why bytes are no package.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// They do not begin as a package does.
    #[error("not an RPM package")]
    Magic,
    /// A size is beyond what RPM allows.
    #[error("the package has a header of {0} entries and {1} bytes, which is too large")]
    TooLarge(usize, usize),
    /// A table points out of the header or does not fit the others.
    #[error("the package has a damaged table of files")]
    Damaged,
    /// The package ends within its headers.
    #[error("the package ends within its headers")]
    Short,
    /// It cannot be read.
    #[error("cannot read the package: {0}")]
    Unreadable(#[from] io::Error),
}

/// How much of a package its headers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// This many bytes, and they are there.
    Complete(usize),
    /// More than there are: at least this many.
    AtLeast(usize),
}

/// How much of a package its headers take, as far as its beginning tells.
///
/// # Errors
/// See [`HeaderError`].
pub fn extent(bytes: &[u8]) -> Result<Extent, HeaderError> {
    if !bytes.starts_with(&LEAD_MAGIC[..bytes.len().min(LEAD_MAGIC.len())]) {
        return Err(HeaderError::Magic);
    }
    let Some(signature) = header_length(bytes, LEAD)? else { return Ok(Extent::AtLeast(LEAD + PREAMBLE)) };
    let start = LEAD + signature.next_multiple_of(8);
    let Some(length) = header_length(bytes, start)? else { return Ok(Extent::AtLeast(start + PREAMBLE)) };
    let end = start + length;
    Ok(if bytes.len() >= end { Extent::Complete(end) } else { Extent::AtLeast(end) })
}

/// Paths and digests (hexadecimal) of a package's files, from bytes that hold its headers. Files without a digest
/// (directories, links, files that are not packaged) are left out.
///
/// # Errors
/// See [`HeaderError`].
pub fn file_digests(bytes: &[u8]) -> Result<Vec<(String, String)>, HeaderError> {
    let Extent::Complete(end) = extent(bytes)? else { return Err(HeaderError::Short) };
    let signature = header_length(bytes, LEAD)?.ok_or(HeaderError::Short)?;
    let start = LEAD + signature.next_multiple_of(8);
    let header = Header::read(&bytes[start..end])?;
    let Some(digests) = header.texts(tag::FILE_DIGESTS)? else { return Ok(Vec::new()) };
    let names = header.paths()?;
    if names.len() != digests.len() {
        return Err(HeaderError::Damaged);
    }
    let pairs = names.into_iter().zip(digests).filter(|(_, digest)| digest.iter().any(|b| *b != b'0'));
    Ok(pairs.map(|(name, digest)| (name, String::from_utf8_lossy(digest).into_owned())).collect())
}

/// Length of the header at an offset, once its preamble is there.
fn header_length(bytes: &[u8], at: usize) -> Result<Option<usize>, HeaderError> {
    let Some(preamble) = bytes.get(at..at + PREAMBLE) else { return Ok(None) };
    if !preamble.starts_with(HEADER_MAGIC) {
        return Err(HeaderError::Magic);
    }
    let (entries, data) = (number(preamble, 8)? as usize, number(preamble, 12)? as usize);
    if entries > MAX_ENTRIES || data > MAX_DATA {
        return Err(HeaderError::TooLarge(entries, data));
    }
    Ok(Some(PREAMBLE + entries * INDEX_ENTRY + data))
}

fn number(bytes: &[u8], at: usize) -> Result<u32, HeaderError> {
    let field = bytes.get(at..at + 4).ok_or(HeaderError::Damaged)?;
    Ok(u32::from_be_bytes(field.try_into().map_err(|_| HeaderError::Damaged)?))
}

struct Header<'b> {
    index: &'b [u8],
    data: &'b [u8],
}

impl<'b> Header<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, HeaderError> {
        let entries = number(bytes, 8)? as usize;
        let rest = bytes.get(PREAMBLE..).ok_or(HeaderError::Damaged)?;
        let (index, data) = rest.split_at_checked(entries * INDEX_ENTRY).ok_or(HeaderError::Damaged)?;
        Ok(Self { index, data })
    }

    /// Number of elements and the data from the first on.
    fn find(&self, tag: u32, kind: u32) -> Result<Option<(usize, &'b [u8])>, HeaderError> {
        for entry in self.index.chunks_exact(INDEX_ENTRY) {
            if number(entry, 0)? == tag && number(entry, 4)? == kind {
                let data = self.data.get(number(entry, 8)? as usize..).ok_or(HeaderError::Damaged)?;
                return Ok(Some((number(entry, 12)? as usize, data)));
            }
        }
        Ok(None)
    }

    fn texts(&self, tag: u32) -> Result<Option<Vec<&'b [u8]>>, HeaderError> {
        let Some((count, data)) = self.find(tag, TYPE_STRING_ARRAY)? else { return Ok(None) };
        // Each text takes a byte at least.
        if count > data.len() {
            return Err(HeaderError::Damaged);
        }
        let texts: Vec<&[u8]> = data.split_inclusive(|b| *b == 0).take(count).collect();
        if texts.len() != count {
            return Err(HeaderError::Damaged);
        }
        texts
            .into_iter()
            .map(|text| text.strip_suffix(&[0]).ok_or(HeaderError::Damaged))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn numbers(&self, tag: u32) -> Result<Option<Vec<u32>>, HeaderError> {
        let Some((count, data)) = self.find(tag, TYPE_INT32)? else { return Ok(None) };
        let data = data.get(..count.checked_mul(4).ok_or(HeaderError::Damaged)?).ok_or(HeaderError::Damaged)?;
        data.chunks_exact(4).map(|field| number(field, 0)).collect::<Result<_, _>>().map(Some)
    }

    /// The files' paths, either whole or split into directories and names.
    fn paths(&self) -> Result<Vec<String>, HeaderError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(names) = self.texts(tag::BASE_NAMES)? else {
            let whole = self.texts(tag::OLD_FILE_NAMES)?.ok_or(HeaderError::Damaged)?;
            return Ok(whole.into_iter().map(text).collect());
        };
        let directories = self.texts(tag::DIRECTORY_NAMES)?.ok_or(HeaderError::Damaged)?;
        let places = self.numbers(tag::DIRECTORY_INDEXES)?.ok_or(HeaderError::Damaged)?;
        if places.len() != names.len() {
            return Err(HeaderError::Damaged);
        }
        let join = |(name, place): (&[u8], u32)| {
            let directory = directories.get(place as usize).ok_or(HeaderError::Damaged)?;
            Ok(text(&[*directory, name].concat()))
        };
        names.into_iter().zip(places).map(join).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::algorithm::HashAlgorithm;
    use proptest::prelude::*;
    use rpm::{FileOptions, PackageBuilder};

    fn package() -> Vec<u8> {
        let mut builder = PackageBuilder::new("test", "1.0.0", "MIT", "noarch", "a test");
        builder
            .with_file_contents("content", FileOptions::new("/usr/bin/a b"))
            .unwrap()
            .with_file_contents("other", FileOptions::new("/etc/conf"))
            .unwrap()
            .with_dir_entry(FileOptions::dir("/var/lib/test"))
            .unwrap()
            .with_symlink(FileOptions::symlink("/usr/bin/link", "a b"))
            .unwrap();
        let mut bytes = Vec::new();
        builder.build().unwrap().write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn files_are_listed_with_their_digests() {
        let mut found = file_digests(&package()).unwrap();
        found.sort();
        let sha256 = |text: &[u8]| HashAlgorithm::Sha256.digest(&[text]).to_hex();
        let expected = [("/etc/conf".to_owned(), sha256(b"other")), ("/usr/bin/a b".to_owned(), sha256(b"content"))];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_beginning_of_a_package_tells_how_much_is_needed() {
        let package = package();
        let mut have = 0;
        for _ in 0..4 {
            match extent(&package[..have]).unwrap() {
                Extent::AtLeast(more) => {
                    assert!(more > have);
                    have = more;
                }
                Extent::Complete(end) => {
                    assert_eq!(end, have);
                    return assert_eq!(file_digests(&package[..end]).unwrap().len(), 2);
                }
            }
        }
        panic!("the headers are never complete");
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(matches!(file_digests(b"PK\x03\x04"), Err(HeaderError::Magic)));
        assert!(matches!(file_digests(b""), Err(HeaderError::Short)));
        let mut large = package();
        large[LEAD + 8..LEAD + 16].fill(0xff);
        assert!(matches!(file_digests(&large), Err(HeaderError::TooLarge(..))));
    }

    proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(at in 0_usize..4000, byte in any::<u8>()) {
            let mut bytes = package();
            let place = at % bytes.len();
            bytes[place] = byte;
            let _ = file_digests(&bytes);
        }
    }
}
