//! Archives in cpio's "new ASCII" format, as the kernel unpacks them.

use std::io::{self, Read};

/// Longest name of an entry, as the kernel's.
const MAX_NAME: u32 = 4096;

/// Most entries of an archive.
const MAX_ENTRIES: usize = 4_000_000;

const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// Why bytes are no archive.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// An entry does not begin with the format's number.
    #[error("corrupt CPIO archive: an entry does not begin with 070701 or 070702")]
    Magic,
    /// A header field is not hexadecimal.
    #[error("corrupt CPIO archive: a header field is no number")]
    Field,
    /// A name is empty or too long.
    #[error("corrupt CPIO archive: a name of {0} bytes")]
    NameLength(u32),
    /// More entries than any system has files.
    #[error("the CPIO archive has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The data end too early or cannot be decompressed.
    #[error("cannot read the CPIO archive: {0}")]
    Unreadable(#[from] io::Error),
}

/// Whether an entry is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory, link, device, …
    Other,
}

/// Identity of a file with several names: inode and device.
pub type FileId = (u32, u32, u32);

/// The head of an entry.
#[derive(Debug)]
pub struct Entry {
    /// Its path in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of content.
    pub size: u32,
    /// The file it is a name of, when that has several.
    pub link: Option<FileId>,
}

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveEnd {
    /// With its trailer.
    Trailer,
    /// With the data.
    Data,
}

/// Reads an archive entry by entry.
pub struct Archive<'r, R> {
    stream: &'r mut R,
    /// Bytes of content of the current entry that were not read yet.
    left: u64,
    /// Bytes that fill it up to a multiple of four.
    padding: u64,
    entries: usize,
    end: ArchiveEnd,
}

impl<'r, R: Read> Archive<'r, R> {
    /// An archive at the current place of a stream.
    pub fn new(stream: &'r mut R) -> Self {
        Self { stream, left: 0, padding: 0, entries: 0, end: ArchiveEnd::Data }
    }

    /// The next entry; what was not read of the current one is passed over. `None` at the end.
    ///
    /// # Errors
    /// See [`CpioError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, CpioError> {
        self.pass(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        let mut header = [0; HEADER];
        if !self.fill_or_end(&mut header)? {
            return Ok(None);
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(CpioError::TooManyEntries);
        }
        let header = Header::read(&header)?;
        let mut name = vec![0; header.name_length as usize];
        self.stream.read_exact(&mut name)?;
        self.pass(padding(HEADER as u64 + u64::from(header.name_length)))?;
        let name_end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(name_end);
        if name == TRAILER {
            self.end = ArchiveEnd::Trailer;
            return Ok(None);
        }
        self.left = u64::from(header.size);
        self.padding = padding(self.left);
        let kind = if header.mode & 0o170_000 == 0o100_000 { EntryKind::File } else { EntryKind::Other };
        let link = (header.links > 1).then_some(header.id);
        Ok(Some(Entry { name, kind, size: header.size, link }))
    }

    /// Reads content of the current entry; zero bytes at its end.
    ///
    /// # Errors
    /// The data end before the content does.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, CpioError> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// How the archive ended, once it has.
    pub fn end(&self) -> ArchiveEnd {
        self.end
    }

    fn pass(&mut self, count: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.stream.by_ref().take(count), &mut io::sink())?;
        if passed < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Fills the buffer; `false` when the data ended before its first byte.
    fn fill_or_end(&mut self, buffer: &mut [u8]) -> Result<bool, CpioError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => filled += count,
            }
        }
        Ok(true)
    }
}

/// Where the first archive that is no microcode begins: behind a plain archive at the front when anything but zeros
/// follows it, else at the front.
///
/// # Errors
/// The plain archive at the front is damaged.
pub fn main_archive_offset(image: &[u8]) -> Result<usize, CpioError> {
    if !is_magic(image) {
        return Ok(0);
    }
    let mut rest = image;
    let mut archive = Archive::new(&mut rest);
    while archive.next_entry()?.is_some() {}
    let follows = rest.iter().position(|b| *b != 0);
    Ok(follows.map_or(0, |zeros| image.len() - rest.len() + zeros))
}

/// Whether bytes begin like an entry.
pub fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

struct Header {
    mode: u32,
    links: u32,
    size: u32,
    id: FileId,
    name_length: u32,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Result<Self, CpioError> {
        if !is_magic(bytes) {
            return Err(CpioError::Magic);
        }
        let field = |index: usize| -> Result<u32, CpioError> {
            let digits = &bytes[6 + 8 * index..14 + 8 * index];
            let text = std::str::from_utf8(digits).map_err(|_| CpioError::Field)?;
            // from_str_radix takes a sign, the format has none.
            if text.starts_with('+') {
                return Err(CpioError::Field);
            }
            u32::from_str_radix(text, 16).map_err(|_| CpioError::Field)
        };
        let name_length = field(11)?;
        if name_length == 0 || name_length > MAX_NAME + 1 {
            return Err(CpioError::NameLength(name_length));
        }
        Ok(Self {
            mode: field(1)?,
            links: field(4)?,
            size: field(6)?,
            id: (field(0)?, field(7)?, field(8)?),
            name_length,
        })
    }
}

fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}
