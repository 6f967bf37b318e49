//! EFI_SIGNATURE_LIST and EFI_SIGNATURE_DATA (UEFI 2.10 §32.4.1).

use super::scalar;
use crate::measured_boot::guid::Guid;
use crate::measured_boot::little_endian::{Bytes, Truncated};
use serde_json::{Map, Value, json};

/// Length of a list's header.
const HEADER_BYTES: usize = 28;

/// The lists of a variable. Reading stops without an error where a list does not fit; its header may stay, with no keys.
/// `null` when there is no list.
pub fn lists(data: &[u8]) -> Value {
    let mut lists = Vec::new();
    let mut rest = data;
    // Lists are found by their size, the end of the data by what was read of them; the two agree unless a list lies.
    let mut read = 0;
    while read < data.len() && lists.len() < data.len() / HEADER_BYTES + 1 {
        let Some((list, keys)) = header(rest) else { break };
        let Some(keys) = keys.filter(|keys| read + HEADER_BYTES + keys.skipped + keys.size <= data.len()) else {
            lists.push(list_json(&list, Vec::new()));
            break;
        };
        read += HEADER_BYTES + keys.skipped;
        let mut signatures = Vec::with_capacity(keys.count.min(rest.len() / keys.size));
        for key in rest[HEADER_BYTES + keys.skipped..].chunks_exact(keys.size).take(keys.count) {
            read += keys.size;
            signatures.extend(signature_json(key).ok());
        }
        lists.push(list_json(&list, signatures));
        let Some(next) = rest.get(list.list_size as usize..) else { break };
        rest = next;
    }
    if lists.is_empty() { Value::Null } else { Value::Array(lists) }
}

/// One signature without a list around it, as the events about authorities have it.
pub fn signature(data: &[u8]) -> Result<Value, Truncated> {
    Ok(Value::Array(vec![signature_json(data)?]))
}

struct Header {
    signature_type: Guid,
    list_size: u32,
    header_size: u32,
    signature_size: u32,
}

struct Keys {
    /// Bytes between the header and the first signature.
    skipped: usize,
    /// Bytes of a signature.
    size: usize,
    count: usize,
}

/// The header of a list and where its keys are; no keys when the sizes contradict each other.
fn header(data: &[u8]) -> Option<(Header, Option<Keys>)> {
    let mut bytes = Bytes::new(data);
    let read = || -> Result<Header, Truncated> {
        Ok(Header {
            signature_type: bytes.guid()?,
            list_size: bytes.u32()?,
            header_size: bytes.u32()?,
            signature_size: bytes.u32()?,
        })
    };
    let header = { read }().ok()?;
    if (header.signature_size as usize) < Guid::BYTES {
        return None;
    }
    let (skipped, size) = (header.header_size as usize, header.signature_size as usize);
    let length = (header.list_size as usize).checked_sub(HEADER_BYTES + skipped);
    let count = length.filter(|length| length % size == 0).map(|length| length / size);
    // A list without keys ends before any would be read.
    let keys = count.map(|count| Keys { skipped, size, count });
    Some((header, keys))
}

fn list_json(list: &Header, signatures: Vec<Value>) -> Value {
    json!({
        "SignatureType": list.signature_type.to_string(),
        "SignatureListSize": list.list_size,
        "SignatureHeaderSize": list.header_size,
        "SignatureSize": list.signature_size,
        "Keys": if signatures.is_empty() { Value::Null } else { Value::Array(signatures) },
    })
}

fn signature_json(data: &[u8]) -> Result<Value, Truncated> {
    let mut bytes = Bytes::new(data);
    let owner = bytes.guid()?;
    let mut out = Map::with_capacity(2);
    out.insert("SignatureOwner".to_owned(), Value::String(owner.to_string()));
    out.insert("SignatureData".to_owned(), scalar::hex_digits(bytes.rest()));
    Ok(Value::Object(out))
}
