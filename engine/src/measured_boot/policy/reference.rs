//! The reference state of policy `example` (`measured-boot.md` §8), checked as the reference checks it.

use super::combinator::{DigestSet, SignatureSet};
use super::is_truthy;
use serde_json::{Map, Value};

/// A reference state.
#[derive(Debug)]
pub struct ReferenceState {
    /// Whether secure boot has to be on.
    pub secure_boot: SecureBoot,
    /// What may have been started; one of them must fit.
    pub kernels: Vec<Kernel>,
    /// Firmware; one of them must fit.
    pub firmware: Vec<Firmware>,
    /// Allowed platform keys; `None` when whatever is there may be.
    pub pk: Option<SignatureSet>,
    /// Allowed key exchange keys.
    pub kek: Option<SignatureSet>,
    /// Allowed signatures.
    pub db: Option<SignatureSet>,
    /// Demanded revocations.
    pub dbx: Option<SignatureSet>,
    /// Allowed vendor signatures.
    pub vendor_db: Option<SignatureSet>,
    /// Allowed MokList digests.
    pub mok_list: DigestSet,
    /// Allowed MokListX digests.
    pub mok_list_x: DigestSet,
}

/// Whether secure boot has to be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureBoot {
    /// On.
    On,
    /// Off.
    Off,
}

/// What starts a kernel, SHA-256 digests in hexadecimal.
#[derive(Debug)]
pub struct Kernel {
    /// Authenticode digest of shim.
    pub shim: String,
    /// Authenticode digest of grub.
    pub grub: String,
    /// Digest of the kernel: Authenticode with secure boot, of the file without.
    pub kernel: String,
    /// Digest of the initial RAM disk.
    pub initrd: String,
    /// Pattern of the command line.
    pub cmdline: String,
}

/// Firmware digests.
#[derive(Debug)]
pub struct Firmware {
    /// Of EV_S_CRTM_VERSION.
    pub scrtm: DigestSet,
    /// Of the firmware blobs, in order.
    pub blobs: Vec<DigestSet>,
}

impl ReferenceState {
    /// Reads a reference state.
    ///
    /// # Errors
    /// What is missing or malformed.
    pub fn parse(state: &Value) -> Result<Self, String> {
        let Value::Object(members) = state else {
            return Err(format!("the reference state is {}, not an object", kind(state)));
        };
        let secure_boot = match members.get("has_secureboot") {
            Some(value) if !is_truthy(value) => SecureBoot::Off,
            Some(_) | None => SecureBoot::On,
        };
        let kernels = list(members, "kernels")?.iter().enumerate();
        let kernels = kernels.map(|(index, kernel)| {
            Kernel::parse(kernel, secure_boot).map_err(|problem| format!("kernels[{index}]: {problem}"))
        });
        let kernels = kernels.collect::<Result<_, String>>()?;
        let firmware = list(members, "scrtm_and_bios")?.iter().enumerate();
        let firmware = firmware.map(|(index, firmware)| {
            Firmware::parse(firmware).map_err(|problem| format!("scrtm_and_bios[{index}]: {problem}"))
        });
        let firmware = firmware.collect::<Result<_, String>>()?;
        let none = Value::Array(Vec::new());
        let required = |name: &str| members.get(name).ok_or_else(|| format!("the reference state lacks {name}"));
        let signatures = |name: &str, value: &Value| {
            if secure_boot == SecureBoot::Off && !is_truthy(value) {
                return Ok(None);
            }
            signature_set(value).map(Some).map_err(|problem| format!("{name}: {problem}"))
        };
        let digests = |name: &str| digest_set(required(name)?).map_err(|problem| format!("{name}: {problem}"));
        Ok(Self {
            secure_boot,
            kernels,
            firmware,
            pk: signatures("pk", required("pk")?)?,
            kek: signatures("kek", required("kek")?)?,
            db: signatures("db", required("db")?)?,
            dbx: signatures("dbx", required("dbx")?)?,
            vendor_db: signatures("vendor_db", members.get("vendor_db").unwrap_or(&none))?,
            mok_list: digests("mokdig")?,
            mok_list_x: digests("mokxdig")?,
        })
    }
}

impl Kernel {
    fn parse(kernel: &Value, secure_boot: SecureBoot) -> Result<Self, String> {
        let members = object(kernel)?;
        let field = |name: &str| members.get(name).ok_or_else(|| format!("lacks field {name}"));
        let digest = |name: &str| {
            let digest = hexadecimal(field(name)?).map_err(|problem| format!("{name}: {problem}"))?;
            Ok::<_, String>(digest.to_owned())
        };
        // The fields of the other kind of boot are not looked at.
        let kernel = match secure_boot {
            SecureBoot::On => digest("kernel_authcode_sha256")?,
            SecureBoot::Off => digest("vmlinuz_plain_sha256")?,
        };
        Ok(Self {
            shim: digest("shim_authcode_sha256")?,
            grub: digest("grub_authcode_sha256")?,
            kernel,
            initrd: digest("initrd_plain_sha256")?,
            cmdline: field("kernel_cmdline")?.as_str().ok_or("kernel_cmdline is not a text")?.to_owned(),
        })
    }
}

impl Firmware {
    fn parse(firmware: &Value) -> Result<Self, String> {
        let members = object(firmware)?;
        let mut scrtm = DigestSet::default();
        add_digests(&mut scrtm, members.get("scrtm").ok_or("lacks field scrtm")?)?;
        let blobs = list(members, "platform_firmware")?.iter().map(|blob| {
            let mut digests = DigestSet::default();
            add_digests(&mut digests, blob).map(|()| digests)
        });
        Ok(Self { scrtm, blobs: blobs.collect::<Result<_, String>>()? })
    }
}

/// Signatures, each an object with an owner and data; other members do not matter.
fn signature_set(value: &Value) -> Result<SignatureSet, String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        // Whatever is empty and can be iterated over holds no signature.
        Value::String(text) if text.is_empty() => &[],
        Value::Object(members) if members.is_empty() => &[],
        other => return Err(format!("is {}, not a list", kind(other))),
    };
    let mut set = SignatureSet::default();
    for (index, signature) in list.iter().enumerate() {
        let text = |name: &str| {
            let member = object(signature)?.get(name).ok_or_else(|| format!("lacks field {name}"))?;
            member.as_str().ok_or_else(|| format!("{name} is {}, not a text", kind(member)))
        };
        let at = |problem: String| format!("[{index}]: {problem}");
        let (owner, data) = (text("SignatureOwner").map_err(at)?, text("SignatureData").map_err(at)?);
        let data = data.strip_prefix("0x").ok_or_else(|| at("SignatureData does not start with 0x".to_owned()))?;
        set.insert(owner, data);
    }
    Ok(set)
}

fn digest_set(value: &Value) -> Result<DigestSet, String> {
    let Value::Array(list) = value else { return Err(format!("is {}, not a list", kind(value))) };
    let mut set = DigestSet::default();
    for (index, digests) in list.iter().enumerate() {
        add_digests(&mut set, digests).map_err(|problem| format!("[{index}]: {problem}"))?;
    }
    Ok(set)
}

/// Adds digests by the names of their algorithms.
fn add_digests(set: &mut DigestSet, value: &Value) -> Result<(), String> {
    for (algorithm, digest) in object(value)? {
        set.insert(algorithm, hexadecimal(digest).map_err(|problem| format!("{algorithm}: {problem}"))?);
    }
    Ok(())
}

fn hexadecimal(value: &Value) -> Result<&str, String> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    digits
        .filter(|digits| !digits.is_empty() && digits.bytes().all(is_digit))
        .ok_or_else(|| format!("{} is not 0x followed by some lowercase hex digits", beginning(value)))
}

fn beginning(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("is {}, not an object", kind(value)))
}

fn list<'m>(members: &'m Map<String, Value>, name: &str) -> Result<&'m [Value], String> {
    match members.get(name) {
        None => Err(format!("lacks {name}, which has to be a list")),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("{name} is {}, not a list", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
