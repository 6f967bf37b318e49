//! The compressions of RAM disks, told apart by their first bytes. Each reads exactly its own part of the data.

use super::cpio::is_magic;
use std::io::{self, Read};

/// How data are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// An archive as it is.
    None,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// RFC 8878.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// Blocks of LZ4 as the kernel's build makes them (`lz4 -l`).
    Lz4Legacy,
}

impl Compression {
    /// What data begin with.
    pub fn detect(data: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 6] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"\x04\x22\x4d\x18", Self::Lz4),
            (b"\x02\x21\x4c\x18", Self::Lz4Legacy),
        ];
        if is_magic(data) {
            return Some(Self::None);
        }
        magics.into_iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, compression)| compression)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 | Self::Lz4Legacy => "lz4",
        }
    }
}

/// Data while they are decompressed.
pub struct Decompressor<'d, 'r>(Box<dyn Read + 'd>, std::marker::PhantomData<&'r ()>);

impl<'d, 'r: 'd> Decompressor<'d, 'r> {
    /// Decompresses the front of `data`, which is moved behind what was read.
    ///
    /// # Errors
    /// The decompressor cannot be set up.
    pub fn new(compression: Compression, data: &'d mut &'r [u8]) -> io::Result<Self> {
        let reader: Box<dyn Read + 'd> = match compression {
            Compression::None => Box::new(data),
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(data)),
            Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(data)),
            Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new(data)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(data)?.single_frame()),
            Compression::Lz4 => {
                // The decoder would take what follows the frame for another one.
                let length = lz4_frame_length(data).ok_or(io::ErrorKind::UnexpectedEof)?;
                let (frame, rest) = data.split_at(length);
                *data = rest;
                Box::new(lz4_flex::frame::FrameDecoder::new(frame))
            }
            Compression::Lz4Legacy => Box::new(LegacyBlocks::new(data)),
        };
        Ok(Self(reader, std::marker::PhantomData))
    }
}

impl Read for Decompressor<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Length of the LZ4 frame at the front of data; `None` when it is cut off.
fn lz4_frame_length(data: &[u8]) -> Option<usize> {
    let flags = *data.get(4)?;
    let optional = |bit: u8, length: usize| if flags & bit != 0 { length } else { 0 };
    // Magic, flags, block descriptor, content size, dictionary id, header checksum.
    let mut at = 4 + 2 + optional(0x08, 8) + optional(0x01, 4) + 1;
    loop {
        let size = data.get(at..at.checked_add(4)?)?;
        let size = u32::from_le_bytes(size.try_into().ok()?);
        at += 4;
        if size == 0 {
            let end = at + optional(0x04, 4);
            return (end <= data.len()).then_some(end);
        }
        at = at.checked_add((size & 0x7fff_ffff) as usize)?.checked_add(optional(0x10, 4))?;
    }
}

/// Bytes of a block of LZ4's legacy format once it is decompressed; only the last is shorter.
const LEGACY_BLOCK: usize = 8 << 20;

struct LegacyBlocks<'d, 'r> {
    data: &'d mut &'r [u8],
    block: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl<'d, 'r> LegacyBlocks<'d, 'r> {
    fn new(data: &'d mut &'r [u8]) -> Self {
        *data = data.get(4..).unwrap_or_default();
        Self { data, block: Vec::new(), filled: 0, taken: 0 }
    }

    /// Decompresses the next block; `false` when none follows. The format has no end mark: what is no block ends it.
    fn advance(&mut self) -> io::Result<bool> {
        let ended = self.filled != 0 && self.filled < LEGACY_BLOCK;
        let Some((size, rest)) = self.data.split_first_chunk::<4>().filter(|_| !ended) else { return Ok(false) };
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || size > lz4_flex::block::get_maximum_output_size(LEGACY_BLOCK) {
            return Ok(false);
        }
        let (packed, rest) = rest.split_at_checked(size).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.block.resize(LEGACY_BLOCK, 0);
        self.filled = lz4_flex::block::decompress_into(packed, &mut self.block).map_err(io::Error::other)?;
        self.taken = 0;
        *self.data = rest;
        Ok(true)
    }
}

impl Read for LegacyBlocks<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.filled {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.filled - self.taken);
        buffer[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
