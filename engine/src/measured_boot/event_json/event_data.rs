//! The data of an event, by its type.

use super::scalar::{self, Problem, unescape};
use super::{partition_table, variable};
use crate::measured_boot::device_path;
use crate::measured_boot::event_log::{BLOB_BYTES, Event, LogProblem};
use crate::measured_boot::event_type::EventType;
use crate::measured_boot::little_endian::{Bytes, Truncated};
use crate::measured_boot::replay::reported_locality;
use serde_json::{Value, json};

/// Most bytes of data printed for a type without structure.
const MAX_PRINTED_BYTES: usize = 1024;

/// The `Event` member of an event with data.
pub fn render(event: &Event<'_>) -> Result<Value, LogProblem> {
    let data = event.data;
    let text =
        |field: &'static str| move |problem: Problem| LogProblem::Text { event_type: event.event_type, field, problem };
    match event.event_type {
        EventType::VARIABLE_DRIVER_CONFIG
        | EventType::VARIABLE_BOOT
        | EventType::VARIABLE_BOOT2
        | EventType::VARIABLE_AUTHORITY => variable::render(event),
        EventType::POST_CODE if data.len() == BLOB_BYTES => blob(data).map_err(LogProblem::Truncated),
        EventType::S_CRTM_CONTENTS | EventType::PLATFORM_FIRMWARE_BLOB => blob(data).map_err(LogProblem::Truncated),
        EventType::PLATFORM_FIRMWARE_BLOB2 => Ok(described_blob(data).unwrap_or_else(|_| hexadecimal(data))),
        EventType::POST_CODE | EventType::EFI_ACTION | EventType::HCRTM_EVENT => {
            let text = scalar::block_literal(data).map_err(text("Event"))?;
            Ok(Value::String(unescape(text)))
        }
        EventType::IPL => {
            let text = scalar::escaped_text(data).map_err(text("String"))?;
            Ok(json!({ "String": unescape(text) }))
        }
        EventType::BOOT_SERVICES_APPLICATION | EventType::BOOT_SERVICES_DRIVER | EventType::RUNTIME_SERVICES_DRIVER => {
            image(data).map_err(LogProblem::Truncated)
        }
        EventType::GPT_EVENT => partition_table::render(data).map_err(|problem| match problem {
            partition_table::GptProblem::Structure(problem) => {
                LogProblem::Body { event_type: event.event_type, problem }
            }
            partition_table::GptProblem::Text(field, problem) => {
                LogProblem::Text { event_type: event.event_type, field, problem }
            }
        }),
        EventType::NO_ACTION => Ok(match reported_locality(data) {
            Some(locality) => json!({ "StartupLocality": locality }),
            None => hexadecimal(data),
        }),
        _ => Ok(hexadecimal(data)),
    }
}

fn hexadecimal(data: &[u8]) -> Value {
    Value::String(hex::encode(&data[..data.len().min(MAX_PRINTED_BYTES)]))
}

/// UEFI_PLATFORM_FIRMWARE_BLOB.
fn blob(data: &[u8]) -> Result<Value, Truncated> {
    let mut bytes = Bytes::new(data);
    Ok(json!({ "BlobBase": bytes.u64()?, "BlobLength": bytes.u64()? }))
}

/// UEFI_PLATFORM_FIRMWARE_BLOB2.
fn described_blob(data: &[u8]) -> Result<Value, Truncated> {
    let mut bytes = Bytes::new(data);
    let size = bytes.u8()?;
    let description = hex::encode(bytes.take(size.into())?);
    Ok(json!({
        "BlobDescriptionSize": size,
        "BlobDescription": description,
        "BlobBase": bytes.u64()?,
        "BlobLength": bytes.u64()?,
    }))
}

/// UEFI_IMAGE_LOAD_EVENT. A device path that cannot be printed stays hexadecimal.
fn image(data: &[u8]) -> Result<Value, Truncated> {
    let mut bytes = Bytes::new(data);
    let (location, length, link_time) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
    let path_length = bytes.u64()?;
    let path = bytes.rest();
    let limit = usize::try_from(path_length).unwrap_or(usize::MAX);
    let text = device_path::text(path, limit).unwrap_or_else(|_| hex::encode(path));
    Ok(json!({
        "ImageLocationInMemory": location,
        "ImageLengthInMemory": length,
        "ImageLinkTimeAddress": link_time,
        "LengthOfDevicePath": path_length,
        "DevicePath": unescape(text),
    }))
}
