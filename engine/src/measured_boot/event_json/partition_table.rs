//! UEFI_GPT_DATA: the header of the partition table and the partitions in use.

use super::scalar::{self, Problem, unescape};
use crate::measured_boot::little_endian::{Bytes, Truncated};
use serde_json::{Value, json};

/// What is wrong with a partition table.
pub enum GptProblem {
    /// Its sizes contradict each other.
    Structure(&'static str),
    /// A text in it cannot be carried; the field and why.
    Text(&'static str, Problem),
}

impl From<Truncated> for GptProblem {
    fn from(_: Truncated) -> Self {
        Self::Structure("the data is too small for the partitions it counts")
    }
}

/// The `Event` member.
pub fn render(data: &[u8]) -> Result<Value, GptProblem> {
    let mut bytes = Bytes::new(data);
    let signature = bytes.take(8)?;
    let signature = scalar::double_quoted(scalar::until_nul(signature))
        .map_err(|problem| GptProblem::Text("Signature", problem))?;
    let (revision, header_size, header_crc, _reserved) = (bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?);
    let (my_lba, alternate_lba, first_lba, last_lba) = (bytes.u64()?, bytes.u64()?, bytes.u64()?, bytes.u64()?);
    let disk = bytes.guid()?;
    let entry_lba = bytes.u64()?;
    let (entries, entry_size, entries_crc) = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
    let count = bytes.u64()?;
    let mut partitions = Vec::new();
    while !bytes.is_empty() || (partitions.len() as u64) < count {
        if partitions.len() as u64 == count {
            return Err(GptProblem::Structure("the data is larger than the partitions it counts"));
        }
        partitions.push(partition(&mut bytes)?);
    }
    Ok(json!({
        "Header": {
            "Signature": unescape(signature),
            "Revision": revision,
            "HeaderSize": header_size,
            "HeaderCRC32": header_crc,
            "MyLBA": my_lba,
            "AlternateLBA": alternate_lba,
            "FirstUsableLBA": first_lba,
            "LastUsableLBA": last_lba,
            "DiskGUID": disk.to_string(),
            "PartitionEntryLBA": entry_lba,
            "NumberOfPartitionEntry": entries,
            "SizeOfPartitionEntry": entry_size,
            "PartitionEntryArrayCRC32": entries_crc,
        },
        "NumberOfPartitions": count,
        "Partitions": if partitions.is_empty() { Value::Null } else { Value::Array(partitions) },
    }))
}

/// An entry of the table, 128 bytes.
fn partition(bytes: &mut Bytes<'_>) -> Result<Value, GptProblem> {
    let (partition_type, unique) = (bytes.guid()?, bytes.guid()?);
    let (start, end, attributes) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
    let text = |problem| GptProblem::Text("PartitionName", problem);
    let name = scalar::utf16(bytes.take(72)?).map_err(|_| GptProblem::Structure("a partition's name is not UTF-16"))?;
    let name = scalar::double_quoted(scalar::until_nul(name.as_bytes())).map_err(text)?;
    Ok(json!({
        "PartitionTypeGUID": partition_type.to_string(),
        "UniquePartitionGUID": unique.to_string(),
        "StartingLBA": start,
        "EndingLBA": end,
        "Attributes": attributes,
        "PartitionName": unescape(name),
    }))
}
