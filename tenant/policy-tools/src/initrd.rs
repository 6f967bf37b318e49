//! Digests of the files in initial RAM disks (`policy-tools.md` §2.1; the kernel's "initramfs buffer format").
//!
//! A RAM disk is a chain of archives, plain or compressed. A plain one at its front holds processor microcode, which is
//! no file of the running system; the first archive after it and all that follow are read. Everything is read as a
//! stream and bounded: a RAM disk may come from anywhere.

mod cpio;
mod decompression;

use crate::file_digests::RunningDigest;
use crate::root_filesystem::measured_name;
use cpio::{ArchiveEnd, CpioError, Entry, EntryKind};
pub use decompression::{Compression, Decompressor};
use indexmap::IndexMap;
use keylime_engine::algorithm::HashAlgorithm;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Most bytes that are unpacked of one RAM disk.
const MAX_UNPACKED: u64 = 16 << 30;

/// Why a RAM disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// It is no chain of archives.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// Compressed data are damaged.
    #[error("cannot decompress {0}: {1}")]
    Compression(&'static str, io::Error),
    /// The data are neither an archive nor compressed in a known way.
    #[error("neither an archive nor compressed with gzip, bzip2, xz, zstd or lz4")]
    UnknownFormat,
}

/// Digests of a RAM disk's files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Digests by path.
    pub digests: IndexMap<String, String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// The RAM disks in a directory: regular files whose names start with `initr`.
///
/// # Errors
/// The directory cannot be looked into.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let fits = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("initr"));
        if fits && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Digests the files of a RAM disk.
///
/// # Errors
/// See [`InitrdError`].
pub fn digest_contents(image: &[u8], algorithm: HashAlgorithm) -> Result<Contents, InitrdError> {
    let mut unpacking = Unpacking { algorithm, contents: Contents::default(), links: HashMap::new() };
    let mut rest = &image[cpio::main_archive_offset(image)?..];
    let mut archives = 0;
    loop {
        skip_zeros(&mut rest).map_err(|e| InitrdError::Archive(CpioError::Unreadable(e)))?;
        let Some(compression) = Compression::detect(rest) else {
            if archives == 0 {
                return Err(InitrdError::UnknownFormat);
            }
            if !rest.is_empty() {
                unpacking.contents.notes.push(format!("{} bytes after the last archive are left out", rest.len()));
            }
            break;
        };
        match compression {
            Compression::None => unpacking.archive(&mut rest)?,
            packed => {
                let failed = |error| InitrdError::Compression(packed.name(), error);
                let decompressor = Decompressor::new(packed, &mut rest).map_err(failed)?;
                unpacking.archives(&mut BufReader::with_capacity(64 << 10, decompressor.take(MAX_UNPACKED)))?;
            }
        }
        archives += 1;
    }
    unpacking.finish_links();
    Ok(unpacking.contents)
}

struct Unpacking {
    algorithm: HashAlgorithm,
    contents: Contents,
    /// Paths of hard links whose content has not come yet, by the file they link to.
    links: HashMap<cpio::FileId, Vec<String>>,
}

impl Unpacking {
    /// All archives in a stream.
    fn archives(&mut self, stream: &mut impl BufRead) -> Result<(), InitrdError> {
        loop {
            skip_zeros(stream).map_err(CpioError::Unreadable)?;
            let begins = stream.fill_buf().map_err(CpioError::Unreadable)?.first().copied();
            match begins {
                Some(b'0') => self.archive(stream)?,
                Some(_) => return Err(CpioError::Magic.into()),
                None => return Ok(()),
            }
        }
    }

    fn archive(&mut self, stream: &mut impl Read) -> Result<(), InitrdError> {
        let mut archive = cpio::Archive::new(stream);
        let mut buffer = vec![0; 64 << 10];
        while let Some(entry) = archive.next_entry()? {
            if entry.kind == EntryKind::Other {
                continue;
            }
            let Some(path) = path_of(&entry) else {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                self.contents.notes.push(format!("{name:?} leads out of the archive and is left out"));
                continue;
            };
            let mut digest = RunningDigest::new(self.algorithm);
            loop {
                let count = archive.read_data(&mut buffer)?;
                if count == 0 {
                    break;
                }
                digest.update(&buffer[..count]);
            }
            self.add(entry, path, digest.finish());
        }
        match archive.end() {
            ArchiveEnd::Trailer => {}
            ArchiveEnd::Data => self.contents.notes.push("an archive ends without a trailer".to_owned()),
        }
        Ok(())
    }

    /// Of a file with several names only one entry holds the content.
    fn add(&mut self, entry: Entry, path: String, digest: String) {
        let Some(file) = entry.link else {
            self.contents.digests.insert(path, digest);
            return;
        };
        let paths = self.links.entry(file).or_default();
        paths.push(path);
        if entry.size > 0 {
            for path in paths.drain(..) {
                self.contents.digests.insert(path, digest.clone());
            }
        }
    }

    fn finish_links(&mut self) {
        let empty = RunningDigest::new(self.algorithm).finish();
        let mut rest: Vec<String> = self.links.drain().flat_map(|(_, paths)| paths).collect();
        rest.sort();
        for path in rest {
            self.contents.digests.entry(path).or_insert_with(|| empty.clone());
        }
    }
}

/// The path of an entry from the root of the unpacked system; `None` when it leads out of it.
fn path_of(entry: &Entry) -> Option<String> {
    let mut path = Vec::with_capacity(entry.name.len() + 1);
    for part in entry.name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    (!path.is_empty()).then(|| measured_name(&path))
}

fn skip_zeros(stream: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = stream.fill_buf()?;
        let zeros = buffer.iter().take_while(|b| **b == 0).count();
        let more = zeros == buffer.len() && zeros > 0;
        stream.consume(zeros);
        if !more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn entry(name: &str, mode: u32, ino: u32, nlink: u32, data: &[u8]) -> Vec<u8> {
        let fields = [ino, mode, 0, 0, nlink, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let mut out = b"070701".to_vec();
        for field in fields {
            out.extend(format!("{field:08X}").bytes());
        }
        out.extend(name.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = entry("usr", 0o040_755, 1, 2, b"");
        for (at, (name, data)) in files.iter().enumerate() {
            out.extend(entry(name, 0o100_644, at as u32 + 2, 1, data));
        }
        out.extend(entry("TRAILER!!!", 0, 0, 1, b""));
        out
    }

    fn sha256(data: &[u8]) -> String {
        HashAlgorithm::Sha256.digest(&[data]).to_hex()
    }

    fn digests(image: &[u8]) -> IndexMap<String, String> {
        digest_contents(image, HashAlgorithm::Sha256).unwrap().digests
    }

    #[test]
    fn every_compression_is_read_behind_microcode() {
        let main = archive(&[("usr/bin/a b", b"content"), ("./etc/c", &[5; 300_000])]);
        let expected: IndexMap<String, String> =
            [("/usr/bin/a_b".to_owned(), sha256(b"content")), ("/etc/c".to_owned(), sha256(&[5; 300_000]))].into();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&main).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&main).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&main).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&main).unwrap();
        let mut legacy = vec![0x02, 0x21, 0x4c, 0x18];
        for block in main.chunks(8 << 20) {
            let packed = lz4_flex::block::compress(block);
            legacy.extend((packed.len() as u32).to_le_bytes());
            legacy.extend(packed);
        }
        let packed = [
            main.clone(),
            gzip.finish().unwrap(),
            bzip2.finish().unwrap(),
            xz.finish().unwrap(),
            zstd::encode_all(&main[..], 1).unwrap(),
            lz4.finish().unwrap(),
            legacy,
        ];
        let mut early = archive(&[("kernel/x86/microcode/GenuineIntel.bin", b"microcode")]);
        early.resize(early.len().next_multiple_of(512), 0);
        for image in packed {
            assert_eq!(digests(&image), expected);
            assert_eq!(digests(&[early.clone(), image.clone()].concat()), expected);
            // A second archive behind the first is unpacked over it.
            let more = archive(&[("etc/c", b"newer")]);
            let mut image = image;
            image.resize(image.len().next_multiple_of(4), 0);
            let both = digests(&[early.clone(), image, more].concat());
            assert_eq!(both["/etc/c"], sha256(b"newer"));
        }
    }

    #[test]
    fn hard_links_share_the_content_of_the_last() {
        let mut image = entry("a", 0o100_755, 9, 2, b"");
        image.extend(entry("b", 0o100_755, 9, 2, b"x"));
        image.extend(entry("c", 0o100_755, 8, 2, b""));
        image.extend(entry("link", 0o120_777, 7, 1, b"a"));
        image.extend(entry("../escape", 0o100_755, 6, 1, b"x"));
        image.extend(entry("TRAILER!!!", 0, 0, 1, b""));
        let contents = digest_contents(&image, HashAlgorithm::Sha256).unwrap();
        assert_eq!(contents.digests.len(), 3);
        assert_eq!((&contents.digests["/a"], &contents.digests["/c"]), (&sha256(b"x"), &sha256(b"")));
        assert_eq!(contents.notes, ["\"../escape\" leads out of the archive and is left out"]);
    }

    #[test]
    fn damaged_images_are_refused() {
        assert!(matches!(digest_contents(b"no archive", HashAlgorithm::Sha1), Err(InitrdError::UnknownFormat)));
        assert!(digest_contents(b"", HashAlgorithm::Sha1).is_err());
        let image = archive(&[("a", b"content")]);
        assert!(digest_contents(&image[..image.len() / 2], HashAlgorithm::Sha1).is_err());
        assert!(digest_contents(&[0x1f, 0x8b, 8, 0, 0], HashAlgorithm::Sha1).is_err());
    }

    proptest! {
        #[test]
        fn no_image_makes_the_reader_panic(magic in prop::sample::select(vec![&b"070701"[..], b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"]), rest in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = digest_contents(&[magic, &rest].concat(), HashAlgorithm::Sha256);
        }

        #[test]
        fn no_damage_to_an_archive_makes_the_reader_panic(at in 0_usize..500, byte in any::<u8>()) {
            let mut image = archive(&[("usr/bin/a", b"content"), ("etc/c", b"other")]);
            let place = at % image.len();
            image[place] = byte;
            let _ = digest_contents(&image, HashAlgorithm::Sha256);
        }
    }
}
