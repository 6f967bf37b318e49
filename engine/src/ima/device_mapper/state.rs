//! The devices of one machine, as its device-mapper events and the policy leave them.

use super::failure::{DeviceMapperFailure, EventKind};
use super::grammar::parse_event;
use super::policy::{DeviceMapperPolicy, python_number};
use crate::algorithm::HashAlgorithm;
use serde_json::{Map, Value};

/// The digest of a device's table: algorithm as logged, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHash {
    /// Name of the algorithm.
    pub algorithm: String,
    /// The digest.
    pub digest: Vec<u8>,
}

/// A device whose table was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Device {
    pub policy_name: String,
    pub active: bool,
    pub valid: bool,
    pub active_table_hash: TableHash,
    pub num_targets: usize,
    pub allow_multiple_loads: bool,
}

/// Devices by name or UUID, as the policy matches them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceMapperState {
    devices: Vec<(String, Device)>,
}

/// Most devices of one machine.
pub const MAX_DEVICES: usize = 4096;

type Judged = Result<(), DeviceMapperFailure>;

impl DeviceMapperState {
    /// Devices in the order in which they were loaded.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.devices.iter().map(|(key, device)| (key.as_str(), device))
    }

    /// Takes an event: its data, and the digest its entry logs for it.
    pub fn take_event(
        &mut self,
        policy: &DeviceMapperPolicy,
        kind: EventKind,
        data: &[u8],
        logged: TableHash,
    ) -> Vec<DeviceMapperFailure> {
        let parsed = std::str::from_utf8(data)
            .map_err(|e| e.to_string())
            .and_then(|text| parse_event(kind, text).map_err(|e| e.to_string()));
        let event = match parsed {
            Ok(event) => event,
            Err(reason) => return vec![DeviceMapperFailure::ParsingFailed { reason }],
        };
        let mut failures = Vec::new();
        let computed = HashAlgorithm::from_name(&logged.algorithm).map(|algorithm| algorithm.digest(&[data]));
        if computed.as_ref().map(|digest| digest.as_bytes()) != Some(&logged.digest) {
            let shown = hex::encode(&logged.digest[..logged.digest.len().min(64)]);
            failures.push(DeviceMapperFailure::InvalidData { logged: format!("{}:{shown}", logged.algorithm) });
            if computed.is_none() {
                return failures;
            }
        }
        let judged = match kind {
            EventKind::TableLoad => self.table_load(policy, &event, logged, &mut failures),
            EventKind::DeviceResume => self.device_resume(policy, &event),
            EventKind::DeviceRemove => self.device_remove(policy, &event),
            EventKind::TableClear => self.table_clear(policy, &event),
            EventKind::DeviceRename => self.device_rename(policy, &event),
            EventKind::TargetUpdate => self.target_update(policy, &event, &mut failures),
        };
        failures.extend(judged.err());
        failures
    }

    /// Devices that are not in the state their rule demands, and required rules without a valid device.
    ///
    /// Keylime computes this and never asks for it (`ima.md` §10): a list is not refused for it here either.
    #[must_use]
    pub fn invalid(&self, policy: &DeviceMapperPolicy) -> Vec<DeviceMapperFailure> {
        let devices = self.devices.iter().filter(|(_, device)| !device.valid);
        let devices = devices.map(|(key, _)| DeviceMapperFailure::DeviceInvalidState { device: key.clone() });
        let rules = policy.rules().filter(|(name, rule)| {
            let used = self.devices.iter().any(|(_, device)| device.valid && device.policy_name == *name);
            truthy(&rule["required"]) && !used
        });
        let rules = rules.map(|(name, _)| DeviceMapperFailure::RequiredPolicyNotInUse { rule: name.to_owned() });
        devices.chain(rules).collect()
    }

    fn table_load(
        &mut self,
        policy: &DeviceMapperPolicy,
        event: &Map<String, Value>,
        logged: TableHash,
        failures: &mut Vec<DeviceMapperFailure>,
    ) -> Judged {
        let kind = EventKind::TableLoad;
        let metadata = &event["device_metadata"];
        let key = device_key(policy, metadata)?;
        let match_on = policy.match_on().ok_or_else(|| incomplete("match_on"))?;
        if self.find(key).is_some_and(|device| !device.allow_multiple_loads) {
            return Err(plain(kind, "multiple_table_loads", key));
        }
        let (name, rule) =
            matching_rule(policy, match_on, key)?.ok_or_else(|| plain(kind, "no_matching_policy", key))?;
        let load = &rule["table_load"];
        for attribute in ["name", "uuid", "major", "minor", "minor_count", "num_targets"] {
            let reference = member(load, attribute, "table_load")?;
            if !policy.satisfies(&metadata[attribute], reference) {
                return Err(differs(kind, "invalid_entry", attribute, &metadata[attribute], reference));
            }
        }
        let targets = event["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let count = i128::try_from(targets.len()).ok();
        if python_number(&metadata["num_targets"]) != count || python_number(&load["num_targets"]) != count {
            let (got, expected) = (Value::from(targets.len()), &load["num_targets"]);
            return Err(differs(kind, "num_targets_mismatch", key, &got, expected));
        }
        let references =
            member(load, "targets", "table_load")?.as_array().ok_or_else(|| incomplete("table_load.targets"))?;
        for (target, reference) in targets.iter().zip(references) {
            check_target(policy, kind, target, reference, failures);
        }
        let device = Device {
            policy_name: name.to_owned(),
            active: false,
            valid: !truthy(member(rule, "device_resume_required", "rule")?),
            active_table_hash: logged,
            num_targets: targets.len(),
            allow_multiple_loads: truthy(member(load, "allow_multiple_loads", "table_load")?),
        };
        self.store(key, device)
    }

    fn device_resume(&mut self, policy: &DeviceMapperPolicy, event: &Map<String, Value>) -> Judged {
        let kind = EventKind::DeviceResume;
        let hash = &event["active_table_hash"];
        let hash = TableHash {
            algorithm: hash["algorithm"].as_str().unwrap_or_default().to_owned(),
            digest: hash["hash"].as_str().and_then(|digits| hex::decode(digits).ok()).unwrap_or_default(),
        };
        let key = device_key(policy, &event["device_metadata"])?;
        let device = self.find_mut(key).ok_or_else(|| plain(kind, "resume_before_table_load", key))?;
        if device.active {
            device.valid = false;
            return Err(plain(kind, "already_active", key));
        }
        if device.active_table_hash != hash {
            device.valid = false;
            let (got, expected) = (hex::encode(&hash.digest), hex::encode(&device.active_table_hash.digest));
            return Err(differs(kind, "active_table_mismatch", key, &Value::from(got), &Value::from(expected)));
        }
        (device.active, device.valid) = (true, true);
        Ok(())
    }

    fn device_remove(&mut self, policy: &DeviceMapperPolicy, event: &Map<String, Value>) -> Judged {
        let kind = EventKind::DeviceRemove;
        // An event without active device leaves nothing to look up; Keylime raises an exception there.
        let metadata = &event["device_active_metadata"];
        if metadata.is_null() {
            return Err(plain(kind, "remove_before_table_load", "device without active table"));
        }
        let key = device_key(policy, metadata)?;
        let device = self.find_mut(key).ok_or_else(|| plain(kind, "remove_before_table_load", key))?;
        let rule = member(policy.rule(&device.policy_name), "device_remove", "rule")?;
        if !truthy(member(rule, "allow_removal", "device_remove")?) {
            device.valid = false;
            return Err(plain(kind, "device_removed", key));
        }
        self.devices.retain(|(known, _)| known != key);
        Ok(())
    }

    fn table_clear(&mut self, policy: &DeviceMapperPolicy, event: &Map<String, Value>) -> Judged {
        let kind = EventKind::TableClear;
        let key = device_key(policy, &event["device_metadata"])?;
        let device = self.find_mut(key).ok_or_else(|| plain(kind, "clear_before_table_load", key))?;
        if !truthy(member(policy.rule(&device.policy_name), "allow_clear", "rule")?) {
            device.valid = false;
            return Err(plain(kind, "table_cleared", key));
        }
        Ok(())
    }

    fn device_rename(&mut self, policy: &DeviceMapperPolicy, event: &Map<String, Value>) -> Judged {
        let kind = EventKind::DeviceRename;
        let metadata = &event["device_metadata"];
        let (new_name, new_uuid) = (&event["new_name"], &event["new_uuid"]);
        let key = device_key(policy, metadata)?.to_owned();
        let match_on = policy.match_on().ok_or_else(|| incomplete("match_on"))?;
        let device = self.find_mut(&key).ok_or_else(|| plain(kind, "rename_before_table_load", &key))?;
        let rule = policy.rule(&device.policy_name).clone();
        let rename = member(&rule, "device_rename", "rule")?;
        let mut new_key = None;
        if *new_name != metadata["name"] {
            let reference = member(rename, "valid_name", "device_rename")?;
            if !policy.satisfies(new_name, reference) {
                device.valid = false;
                return Err(differs(kind, "new_name_invalid", &key, new_name, reference));
            }
            if match_on == "name" {
                new_key = new_name.as_str();
            }
        }
        if *new_uuid != metadata["uuid"] {
            let reference = member(rename, "valid_uuid", "device_rename")?;
            if !policy.satisfies(new_uuid, reference) {
                device.valid = false;
                let failure = differs(kind, "new_uuid_invalid", &key, new_uuid, reference);
                self.rekey(&key, new_key);
                return Err(failure);
            }
            if match_on == "uuid" {
                // Keylime files the device under its new name here, not its new UUID; later events of the device then
                // fail in both.
                new_key = new_name.as_str();
            }
        }
        self.rekey(&key, new_key);
        Ok(())
    }

    fn target_update(
        &mut self,
        policy: &DeviceMapperPolicy,
        event: &Map<String, Value>,
        failures: &mut Vec<DeviceMapperFailure>,
    ) -> Judged {
        let kind = EventKind::TargetUpdate;
        let key = device_key(policy, &event["device_metadata"])?;
        let device = self.find(key).ok_or_else(|| plain(kind, "update_before_table_load", key))?;
        let load = member(policy.rule(&device.policy_name), "table_load", "rule")?;
        let references = member(load, "targets", "table_load")?;
        let target = &event["target"];
        let index = target["target_index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let reference = index.and_then(|index| references.get(index)).ok_or_else(|| {
            differs(kind, "target_data_invalid", "target_index", &target["target_index"], &Value::Null)
        })?;
        check_target(policy, kind, target, reference, failures);
        Ok(())
    }

    fn find(&self, key: &str) -> Option<&Device> {
        self.devices.iter().find(|(known, _)| known == key).map(|(_, device)| device)
    }

    fn find_mut(&mut self, key: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|(known, _)| known == key).map(|(_, device)| device)
    }

    fn store(&mut self, key: &str, device: Device) -> Judged {
        if let Some(known) = self.find_mut(key) {
            *known = device;
            return Ok(());
        }
        if self.devices.len() >= MAX_DEVICES {
            return Err(DeviceMapperFailure::ParsingFailed { reason: format!("more than {MAX_DEVICES} devices") });
        }
        self.devices.push((key.to_owned(), device));
        Ok(())
    }

    /// Files a device under another key, in the place of a device that has that key.
    fn rekey(&mut self, key: &str, new_key: Option<&str>) {
        let Some(new_key) = new_key.filter(|new_key| *new_key != key) else { return };
        self.devices.retain(|(known, _)| known != new_key);
        if let Some((known, _)) = self.devices.iter_mut().find(|(known, _)| known == key) {
            new_key.clone_into(known);
        }
    }
}

fn matching_rule<'p>(
    policy: &'p DeviceMapperPolicy,
    match_on: &str,
    key: &str,
) -> Result<Option<(&'p str, &'p Value)>, DeviceMapperFailure> {
    for (name, rule) in policy.rules() {
        let pattern = member(member(rule, "table_load", name)?, match_on, "table_load")?;
        let pattern = pattern.as_str().ok_or_else(|| DeviceMapperFailure::ParsingFailed {
            reason: format!("rule {name:?} has no pattern to match the {match_on} of a device with"),
        })?;
        if policy.full_match(pattern, key) {
            return Ok(Some((name, rule)));
        }
    }
    Ok(None)
}

fn check_target(
    policy: &DeviceMapperPolicy,
    kind: EventKind,
    target: &Value,
    references: &Value,
    failures: &mut Vec<DeviceMapperFailure>,
) {
    let Some(references) = references.as_object() else {
        failures.push(incomplete("table_load.targets"));
        return;
    };
    let before = failures.len();
    for (name, reference) in references {
        let own =
            matches!(name.as_str(), "target_index" | "target_begin" | "target_len" | "target_name" | "target_version");
        let place = if own { target } else { &target["target_attributes"] };
        match place.get(name) {
            None => {
                let attributes = &Value::Null;
                failures.push(differs(kind, "target_attribute_not_found", name, attributes, reference));
            }
            Some(value) if !policy.satisfies(value, reference) => {
                failures.push(differs(kind, "target_data_mismatch", name, value, reference));
            }
            Some(_) => {}
        }
    }
    if failures.len() > before {
        let subject = format!("target {}", target["target_index"]);
        failures.push(plain(kind, "target_data_invalid", &subject));
    }
}

fn device_key<'e>(policy: &DeviceMapperPolicy, metadata: &'e Value) -> Result<&'e str, DeviceMapperFailure> {
    let match_on = policy.match_on().ok_or_else(|| incomplete("match_on"))?;
    Ok(metadata[match_on].as_str().unwrap_or_default())
}

fn member<'v>(value: &'v Value, name: &str, of: &str) -> Result<&'v Value, DeviceMapperFailure> {
    value.get(name).ok_or_else(|| incomplete(&format!("{of}.{name}")))
}

fn incomplete(member: &str) -> DeviceMapperFailure {
    DeviceMapperFailure::PolicyIncomplete { member: member.to_owned() }
}

fn plain(kind: EventKind, reason: &'static str, subject: &str) -> DeviceMapperFailure {
    differs(kind, reason, subject, &Value::Null, &Value::Null)
}

fn differs(kind: EventKind, reason: &'static str, subject: &str, got: &Value, expected: &Value) -> DeviceMapperFailure {
    DeviceMapperFailure::Event {
        kind,
        reason,
        subject: subject.to_owned(),
        got: got.clone(),
        expected: expected.clone(),
    }
}

fn truthy(value: &Value) -> bool {
    crate::policy::runtime_policy::is_truthy(value)
}
