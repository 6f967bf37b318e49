//! The XML metadata of RPM repositories: `repomd.xml`, the list of packages, the list of files.

use crate::digest_map::DigestMap;
use crate::initrd::{Compression, Decompressor};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use std::io::{self, BufReader, Read};

const REPOSITORY: &str = "http://linux.duke.edu/metadata/repo";
const COMMON: &str = "http://linux.duke.edu/metadata/common";
const FILE_LISTS_EXT: &str = "http://linux.duke.edu/metadata/filelists-ext";

/// Most bytes of a document once it is decompressed.
const MAX_DOCUMENT: u64 = 8 << 30;

/// Longest path or address in a document.
const MAX_TEXT: usize = 16 << 10;

/// Why metadata cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not well-formed XML.
    #[error("not well-formed XML: {0}")]
    Xml(#[from] quick_xml::Error),
    /// An attribute cannot be read.
    #[error("not well-formed XML: {0}")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    /// Compressed data are damaged.
    #[error("cannot be decompressed: {0}")]
    Compression(io::Error),
    /// A text is longer than any honest one.
    #[error("a text is longer than {MAX_TEXT} bytes")]
    TextTooLong,
    /// No list of packages is named.
    #[error("Error. Primary location tag not found")]
    NoPrimary,
}

/// What `repomd.xml` names, relative to the repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The list of packages.
    pub primary: Option<String>,
    /// The list of files with their digests.
    pub file_lists_ext: Option<String>,
}

/// Reads `repomd.xml`.
///
/// # Errors
/// See [`MetadataError`].
pub fn read_index(document: &[u8]) -> Result<Index, MetadataError> {
    let mut index = Index::default();
    let mut kind = None;
    walk(document, |namespace, element, text| {
        if namespace != REPOSITORY {
            return Ok(());
        }
        match (element, text) {
            (Part::Start(element), _) if element.local_name().as_ref() == "data" => kind = attribute(element, "type")?,
            (Part::Start(element), _) if element.local_name().as_ref() == "location" => {
                let place = match kind.as_deref() {
                    Some("primary") => &mut index.primary,
                    Some("filelists-ext") => &mut index.file_lists_ext,
                    _ => return Ok(()),
                };
                if place.is_none() {
                    *place = attribute(element, "href")?;
                }
            }
            (Part::Start(_) | Part::End(_), _) => {}
        }
        Ok(())
    })?;
    Ok(index)
}

/// Reads where the packages are from the list of packages.
///
/// # Errors
/// See [`MetadataError`].
pub fn read_package_locations(document: &[u8]) -> Result<Vec<String>, MetadataError> {
    let mut locations = Vec::new();
    let mut is_rpm = false;
    walk(document, |namespace, element, _| {
        let Part::Start(element) = element else { return Ok(()) };
        if namespace != COMMON {
            return Ok(());
        }
        match element.local_name().as_ref() {
            "package" => is_rpm = attribute(element, "type")?.as_deref() == Some("rpm"),
            "location" if is_rpm => locations.extend(attribute(element, "href")?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(locations)
}

/// Reads digests by path from the list of files.
///
/// # Errors
/// See [`MetadataError`].
pub fn read_file_digests(document: &[u8]) -> Result<DigestMap, MetadataError> {
    let mut digests = DigestMap::default();
    let mut hash = None;
    walk(document, |namespace, element, text| {
        match element {
            Part::Start(element) => {
                let is_file = namespace == FILE_LISTS_EXT && element.local_name().as_ref() == "file";
                hash = if is_file { attribute(element, "hash")? } else { None };
            }
            Part::End(name) => {
                if let Some(hash) =
                    hash.take().filter(|_| namespace == FILE_LISTS_EXT && name == "file" && !text.is_empty())
                {
                    digests.add(text, hash);
                }
            }
        }
        Ok(())
    })?;
    Ok(digests)
}

/// A part of a document.
enum Part<'p, 'e> {
    Start(&'p BytesStart<'e>),
    End(&'p str),
}

/// Reads a document, compressed or not, and shows each element at its start and at its end, with its namespace and the
/// text since the last start.
fn walk(
    document: &[u8],
    mut visit: impl FnMut(&str, Part<'_, '_>, &str) -> Result<(), MetadataError>,
) -> Result<(), MetadataError> {
    let mut rest = document;
    let stream: Box<dyn Read + '_> = match Compression::detect(document) {
        Some(compression) => Box::new(Decompressor::new(compression, &mut rest).map_err(MetadataError::Compression)?),
        None => Box::new(document),
    };
    let mut reader = NsReader::from_reader(BufReader::with_capacity(64 << 10, stream.take(MAX_DOCUMENT)));
    reader.config_mut().expand_empty_elements = true;
    let (mut buffer, mut text) = (Vec::new(), String::new());
    loop {
        buffer.clear();
        let (namespace, event) = reader.read_resolved_event_into(&mut buffer)?;
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(name)) => name,
            ResolveResult::Unbound | ResolveResult::Unknown(_) => "",
        };
        match event {
            Event::Start(element) => {
                text.clear();
                visit(namespace, Part::Start(&element), &text)?;
            }
            Event::End(element) => {
                visit(namespace, Part::End(element.local_name().as_ref()), &text)?;
                text.clear();
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::CData(piece) => text.push_str(&piece),
            Event::GeneralRef(reference) => match reference.resolve_char_ref()? {
                Some(character) => text.push(character),
                None => text.push_str(resolve_predefined_entity(&reference).unwrap_or_default()),
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
        if text.len() > MAX_TEXT {
            return Err(MetadataError::TextTooLong);
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, MetadataError> {
    for attribute in element.attributes() {
        let attribute = attribute?;
        if attribute.key.as_ref() == name {
            return Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    const INDEX: &str = r#"<?xml version="1.0"?>
        <repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
          <data type="primary"><checksum type="sha256">00</checksum><location href="repodata/primary.xml.gz"/></data>
          <data type="filelists-ext"><location href="repodata/files&amp;.xml"/></data>
          <data type="other"><location href="repodata/other.xml.gz"/></data>
        </repomd>"#;

    #[test]
    fn the_index_names_its_lists() {
        let index = read_index(INDEX.as_bytes()).unwrap();
        assert_eq!(index.primary.as_deref(), Some("repodata/primary.xml.gz"));
        assert_eq!(index.file_lists_ext.as_deref(), Some("repodata/files&.xml"));
        let other = INDEX.replace("metadata/repo\"", "metadata/else\"");
        assert_eq!(read_index(other.as_bytes()).unwrap(), Index::default());
    }

    #[test]
    fn packages_and_files_are_listed_from_compressed_documents() {
        let packages = r#"<metadata xmlns="http://linux.duke.edu/metadata/common"><package type="rpm"><location href="a.rpm"/></package>
            <package type="deb"><location href="b.deb"/></package></metadata>"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(packages.as_bytes()).unwrap();
        assert_eq!(read_package_locations(&gzip.finish().unwrap()).unwrap(), ["a.rpm"]);
        let files = r#"<filelists-ext xmlns="http://linux.duke.edu/metadata/filelists-ext"><package><version ver="1"/>
            <file hash="aa">/a &amp; b</file><file hash="bb" type="ghost">/c</file><file>/d</file><file hash="cc">/c</file>
            <file hash="dd"/></package></filelists-ext>"#;
        let packed = zstd::encode_all(files.as_bytes(), 1).unwrap();
        let digests = read_file_digests(&packed).unwrap().into_json().to_string();
        assert_eq!(digests, r#"{"/a & b":["aa"],"/c":["bb","cc"]}"#);
    }

    #[test]
    fn entities_are_not_expanded_and_damage_is_named() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><filelists-ext
            xmlns="http://linux.duke.edu/metadata/filelists-ext"><file hash="aa">&b;/x</file></filelists-ext>"#;
        assert_eq!(read_file_digests(bomb.as_bytes()).unwrap().into_json().to_string(), r#"{"/x":["aa"]}"#);
        assert!(read_index(b"<repomd><data></repomd>").is_err());
        assert!(read_index(&[0x1f, 0x8b, 8, 0]).is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_the_readers_panic(at in 0_usize..INDEX.len(), byte in any::<u8>()) {
            let mut document = INDEX.as_bytes().to_vec();
            document[at] = byte;
            let _ = (read_index(&document), read_package_locations(&document), read_file_digests(&document));
        }
    }
}
