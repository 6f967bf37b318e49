//! The text of device-mapper events (Linux, Documentation/admin-guide/device-mapper/dm-ima.rst; `ima.md` §10).
//!
//! Parsed events are JSON objects with the member names of Keylime's parser, because device-mapper policies refer to
//! attributes by these names.

use super::failure::EventKind;
use serde_json::{Map, Value, json};

/// Why a text is no event of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {position}")]
pub struct GrammarError {
    /// What should stand there.
    pub expected: &'static str,
    /// Where.
    pub position: usize,
}

type Parsed<T> = Result<T, GrammarError>;

/// Parses the data of an event.
///
/// # Errors
/// [`GrammarError`] at the first place that does not fit.
pub fn parse_event(kind: EventKind, data: &str) -> Parsed<Map<String, Value>> {
    let mut cursor = Cursor { data, position: 0 };
    let mut event = Map::new();
    cursor.literal("dm_version=")?;
    event.insert("dm_version".into(), cursor.version()?);
    cursor.literal(";")?;
    match kind {
        EventKind::TableLoad => {
            event.insert("device_metadata".into(), cursor.metadata()?);
            cursor.literal(";")?;
            let mut targets = vec![cursor.target()?];
            while !cursor.at_end() {
                targets.push(cursor.target()?);
            }
            event.insert("targets".into(), Value::Array(targets));
        }
        EventKind::DeviceResume => {
            event.insert("device_metadata".into(), cursor.metadata()?);
            cursor.literal(";")?;
            // The kernel writes "device_resume=no_data" when it has no table; Keylime takes that for malformed.
            cursor.literal("active_table_hash=")?;
            event.insert("active_table_hash".into(), cursor.digest()?);
            cursor.literal(";")?;
            cursor.capacity(&mut event)?;
        }
        EventKind::DeviceRename => {
            event.insert("device_metadata".into(), cursor.metadata()?);
            cursor.literal(";new_name=")?;
            event.insert("new_name".into(), cursor.string()?);
            cursor.literal(",new_uuid=")?;
            event.insert("new_uuid".into(), cursor.string_or_empty());
            cursor.literal(";")?;
            cursor.capacity(&mut event)?;
        }
        EventKind::TargetUpdate => {
            event.insert("device_metadata".into(), cursor.metadata()?);
            cursor.literal(";")?;
            event.insert("target".into(), cursor.target()?);
        }
        EventKind::TableClear => cursor.table_clear(&mut event)?,
        EventKind::DeviceRemove => cursor.device_remove(&mut event)?,
    }
    if cursor.at_end() { Ok(event) } else { Err(cursor.expected("the end")) }
}

/// How an attribute's value is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    TextOrEmpty,
    Number,
    YesNo,
}

/// An attribute: the literal before the value, the kind of the value, whether it may be missing.
struct Attribute(&'static str, Kind, Presence);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

use Kind::{Number, Text, TextOrEmpty, YesNo};
use Presence::{Optional, Required};

const VERITY: &[Attribute] = &[
    Attribute("hash_failed=", Text, Required),
    Attribute(",verity_version=", Number, Required),
    Attribute(",data_device_name=", Text, Required),
    Attribute(",hash_device_name=", Text, Required),
    Attribute(",verity_algorithm=", Text, Required),
    Attribute(",root_digest=", Text, Required),
    Attribute(",salt=", Text, Required),
    Attribute(",ignore_zero_blocks=", YesNo, Required),
    Attribute(",check_at_most_once=", YesNo, Required),
    Attribute(",root_hash_sig_key_desc=", Text, Optional),
    Attribute(",verity_mode=", Text, Optional),
];

const CACHE: &[Attribute] = &[
    Attribute("metadata_mode=", Text, Required),
    Attribute(",cache_metadata_device=", Text, Required),
    Attribute(",cache_device=", Text, Required),
    Attribute(",cache_origin_device=", Text, Required),
    Attribute(",writethrough=", YesNo, Required),
    Attribute(",writeback=", YesNo, Required),
    Attribute(",passthrough=", YesNo, Required),
    Attribute(",metadata2=", YesNo, Required),
    Attribute(",no_discard_passdown=", YesNo, Required),
];

const CRYPT: &[Attribute] = &[
    Attribute("allow_discards=", YesNo, Required),
    Attribute(",same_cpu_crypt=", YesNo, Required),
    Attribute(",submit_from_crypt_cpus=", YesNo, Required),
    Attribute(",no_read_workqueue=", YesNo, Required),
    Attribute(",no_write_workqueue=", YesNo, Required),
    Attribute(",iv_large_sectors=", YesNo, Required),
    Attribute(",integrity_tag_size=", Number, Optional),
    Attribute(",cipher_auth=", Text, Optional),
    Attribute(",sector_size=", Number, Optional),
    Attribute(",cipher_string=", Text, Optional),
    Attribute(",key_size=", Number, Required),
    Attribute(",key_parts=", Number, Required),
    Attribute(",key_extra_size=", Number, Required),
    Attribute(",key_mac_size=", Number, Required),
];

const INTEGRITY: &[Attribute] = &[
    Attribute("dev_name=", Text, Required),
    Attribute(",start=", Number, Required),
    Attribute(",tag_size=", Number, Required),
    Attribute(",mode=", Text, Required),
    Attribute(",meta_device=", Text, Optional),
    Attribute(",block_size=", Text, Optional),
    Attribute(",recalculate=", YesNo, Required),
    Attribute(",allow_discards=", YesNo, Required),
    Attribute(",fix_padding=", YesNo, Required),
    Attribute(",fix_hmac=", YesNo, Required),
    Attribute(",legacy_recalculate=", YesNo, Required),
    Attribute(",journal_sectors=", Number, Required),
    Attribute(",interleave_sectors=", Number, Required),
    Attribute(",buffer_sectors=", Number, Required),
];

const LINEAR: &[Attribute] = &[Attribute("device_name=", Text, Required), Attribute(",start=", Text, Required)];

const SNAPSHOT: &[Attribute] = &[
    Attribute("snap_origin_name=", Text, Required),
    Attribute(",snap_cow_name=", Text, Required),
    Attribute(",snap_valid=", YesNo, Required),
    Attribute(",snap_merge_failed=", YesNo, Required),
    Attribute(",snapshot_overflowed=", YesNo, Required),
];

const MIRROR_END: &[Attribute] = &[
    Attribute(",handle_errors=", YesNo, Required),
    Attribute(",keep_log=", YesNo, Required),
    Attribute(",log_type_status=", TextOrEmpty, Required),
];

const DEVICE: &[Attribute] = &[Attribute("name=", Text, Required), Attribute(",uuid=", TextOrEmpty, Required)];

const DEVICE_NUMBERS: &[Attribute] = &[
    Attribute(",major=", Number, Required),
    Attribute(",minor=", Number, Required),
    Attribute(",minor_count=", Number, Required),
    Attribute(",num_targets=", Number, Required),
];

const TARGET: &[Attribute] = &[
    Attribute("target_index=", Number, Required),
    Attribute(",target_begin=", Number, Required),
    Attribute(",target_len=", Number, Required),
    Attribute(",target_name=", Text, Required),
];

/// Most devices of a mirror (`DM_RAID1_MAX_MIRRORS` of Linux), which also bounds how deep their lists nest.
const MAX_MIRRORS: usize = 9;

struct Cursor<'t> {
    data: &'t str,
    position: usize,
}

impl<'t> Cursor<'t> {
    /// What follows, without NUL bytes, which mean nothing between tokens.
    fn rest(&mut self) -> &'t str {
        let rest = &self.data[self.position..];
        let trimmed = rest.trim_start_matches('\0');
        self.position += rest.len() - trimmed.len();
        trimmed
    }

    fn at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn expected(&self, expected: &'static str) -> GrammarError {
        GrammarError { expected, position: self.position }
    }

    fn try_literal(&mut self, literal: &str) -> bool {
        let found = self.rest().starts_with(literal);
        if found {
            self.position += literal.len();
        }
        found
    }

    fn literal(&mut self, literal: &'static str) -> Parsed<()> {
        if self.try_literal(literal) { Ok(()) } else { Err(self.expected(literal)) }
    }

    fn run(&mut self, accepted: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|b| !accepted(b)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn text(&mut self) -> &'t str {
        self.run(|b| b.is_ascii_alphanumeric() || b"-:_.+@#".contains(&b))
    }

    fn string(&mut self) -> Parsed<Value> {
        match self.text() {
            "" => Err(self.expected("a name of letters, digits and -:_.+@#")),
            text => Ok(Value::from(text)),
        }
    }

    /// `algorithm:hex`, or hex of a length that tells the algorithm.
    fn digest(&mut self) -> Parsed<Value> {
        let malformed = self.expected("a digest");
        let text = self.text();
        let (algorithm, digits) = text.split_once(':').map_or((None, text), |(name, digits)| (Some(name), digits));
        let algorithm = match (algorithm, digits.len()) {
            (Some(name), _) => name,
            (None, 40) => "sha1",
            (None, 32) => "md5",
            (None, _) => return Err(malformed),
        };
        if hex::decode(digits).is_err() {
            return Err(malformed);
        }
        Ok(json!({ "algorithm": algorithm, "hash": digits.to_ascii_lowercase() }))
    }

    fn string_or_empty(&mut self) -> Value {
        Value::from(self.text())
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.expected("a number");
        self.run(|b| b.is_ascii_digit()).parse::<u64>().map(Value::from).map_err(|_| start)
    }

    fn yes_no(&mut self) -> Parsed<Value> {
        ["y", "n"]
            .into_iter()
            .find(|word| self.try_literal(word))
            .map(Value::from)
            .ok_or_else(|| self.expected("y or n"))
    }

    fn version(&mut self) -> Parsed<Value> {
        let mut version = String::new();
        for index in 0..3 {
            if index > 0 {
                self.literal(".")?;
                version.push('.');
            }
            let digits = self.run(|b| b.is_ascii_digit());
            if digits.is_empty() {
                return Err(self.expected("a version number"));
            }
            version.push_str(digits);
        }
        Ok(Value::from(version))
    }

    fn attributes(&mut self, list: &'static [Attribute], out: &mut Map<String, Value>) -> Parsed<()> {
        for Attribute(literal, kind, presence) in list {
            let name = literal.trim_start_matches(',').trim_end_matches('=').to_owned();
            if *presence == Optional && !self.try_literal(literal) {
                out.insert(name, Value::Null);
                continue;
            }
            if *presence == Required {
                self.literal(literal)?;
            }
            let value = match kind {
                Text => self.string()?,
                TextOrEmpty => self.string_or_empty(),
                Number => self.number()?,
                YesNo => self.yes_no()?,
            };
            out.insert(name, value);
        }
        Ok(())
    }

    fn metadata(&mut self) -> Parsed<Value> {
        let mut device = Map::new();
        self.attributes(DEVICE, &mut device)?;
        self.attributes(DEVICE_NUMBERS, &mut device)?;
        Ok(Value::Object(device))
    }

    fn capacity(&mut self, event: &mut Map<String, Value>) -> Parsed<()> {
        self.literal("current_device_capacity=")?;
        event.insert("current_device_capacity".into(), self.number()?);
        self.literal(";")
    }

    fn target(&mut self) -> Parsed<Value> {
        let mut target = Map::new();
        self.attributes(TARGET, &mut target)?;
        self.literal(",target_version=")?;
        target.insert("target_version".into(), self.version()?);
        self.literal(",")?;
        target.insert("target_attributes".into(), Value::Object(self.target_attributes()?));
        self.literal(";")?;
        Ok(Value::Object(target))
    }

    /// The first attribute tells which target it is.
    fn target_attributes(&mut self) -> Parsed<Map<String, Value>> {
        let mut attributes = Map::new();
        for list in [VERITY, CACHE, CRYPT, INTEGRITY, LINEAR, SNAPSHOT] {
            if self.rest().starts_with(list[0].0) {
                self.attributes(list, &mut attributes)?;
                return Ok(attributes);
            }
        }
        if !self.try_literal("nr_mirrors=") {
            return Err(self.expected("the attributes of a known target"));
        }
        attributes.insert("nr_mirrors".into(), self.number()?);
        // Each further device is put beside the list of those before it, as in Keylime's parser.
        let mut devices = Value::Array(vec![self.mirror_device()?]);
        let mut count = 1;
        while self.rest().starts_with(",mirror_device_") {
            count += 1;
            if count > MAX_MIRRORS {
                return Err(self.expected("no more mirrored devices"));
            }
            devices = Value::Array(vec![devices, self.mirror_device()?]);
        }
        attributes.insert("mirror_device_data".into(), devices);
        self.attributes(MIRROR_END, &mut attributes)?;
        Ok(attributes)
    }

    fn mirror_device(&mut self) -> Parsed<Value> {
        self.literal(",mirror_device_")?;
        self.number()?;
        self.literal("=")?;
        let name = self.string()?;
        self.literal(",mirror_device_")?;
        self.number()?;
        self.literal("_status=")?;
        let status = self.string()?;
        Ok(json!({ "mirror_device_name": name, "mirror_device_status": status }))
    }

    fn table_clear(&mut self, event: &mut Map<String, Value>) -> Parsed<()> {
        let mut device = Map::new();
        self.attributes(DEVICE, &mut device)?;
        let no_data = self.try_literal(";table_clear=no_data");
        let mut hash = Value::Null;
        if !no_data {
            self.attributes(DEVICE_NUMBERS, &mut device)?;
            self.literal(";inactive_table_hash=")?;
            hash = self.string()?;
        }
        self.literal(";")?;
        event.insert("device_metadata".into(), Value::Object(device));
        event.insert("no_data".into(), Value::from(no_data));
        event.insert("inactive_table_hash".into(), hash);
        self.capacity(event)
    }

    fn device_remove(&mut self, event: &mut Map<String, Value>) -> Parsed<()> {
        let (mut active, mut inactive) = (Value::Null, Value::Null);
        let (mut active_hash, mut inactive_hash) = (Value::Null, Value::Null);
        if self.try_literal("device_active_metadata=") {
            active = self.metadata()?;
            self.literal(";")?;
            let both = self.try_literal("device_inactive_metadata=");
            if both {
                inactive = self.metadata()?;
                self.literal(";")?;
            }
            self.literal("active_table_hash=")?;
            active_hash = self.string()?;
            if both {
                self.literal(";")?;
                self.literal("inactive_table_hash=")?;
                inactive_hash = self.string()?;
            }
            self.literal(",")?;
        } else if self.try_literal("device_inactive_metadata=") {
            inactive = self.metadata()?;
            self.literal(";")?;
            self.literal("inactive_table_hash=")?;
            inactive_hash = self.string()?;
            self.literal(",")?;
        } else {
            self.literal("device_remove=no_data;")?;
        }
        self.literal("remove_all=")?;
        event.insert("remove_all".into(), self.string()?);
        self.literal(";")?;
        event.insert("device_active_metadata".into(), active);
        event.insert("device_inactive_metadata".into(), inactive);
        event.insert("active_table_hash".into(), active_hash);
        event.insert("inactive_table_hash".into(), inactive_hash);
        self.capacity(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = "dm_version=4.45.0;name=a,uuid=,major=253,minor=0,minor_count=1,num_targets=1;";

    #[test]
    fn nul_bytes_between_tokens_mean_nothing() {
        let event = "target_index=0,target_begin=0,target_len=8,target_name=linear,target_version=1.4.0,device_name=254:2,start=0;\0\0";
        let parsed = parse_event(EventKind::TableLoad, &format!("\0{META}\0{event}")).unwrap();
        assert_eq!(parsed["targets"][0]["target_attributes"]["start"], "0");
        assert_eq!(parsed["device_metadata"]["uuid"], "");
    }

    #[test]
    fn errors_name_the_place() {
        let error = parse_event(EventKind::TableLoad, META).unwrap_err();
        assert_eq!(error.to_string(), format!("expected target_index= at byte {}", META.len()));
        assert!(
            parse_event(EventKind::DeviceResume, &format!("{META}device_resume=no_data;current_device_capacity=1;"))
                .is_err()
        );
        for kind in EventKind::ALL {
            assert!(parse_event(kind, "garbage").is_err());
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        assert!(parse_event(EventKind::TableLoad, &META.replace("253", &"9".repeat(30))).is_err());
    }
}
