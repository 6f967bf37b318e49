//! Policy `example`: secure boot as expected, known firmware, boot loader and kernel, only known keys, all demanded
//! revocations (`measured-boot.md` §8).

use super::combinator::{
    DigestSet, Dispatcher, Key, NameRule, Padding, Pattern, SignatureSet, Test, VariableDispatcher, action_test,
    separator_test,
};
use super::reference::{Firmware, Kernel, ReferenceState, SecureBoot};
use crate::policy::python_regex::PatternError;
use crate::tpm::pcr_mask::PcrMask;
use serde_json::Value;
use std::sync::Arc;

/// The PCRs the policy speaks about.
pub fn relevant_pcrs() -> PcrMask {
    PcrMask::of([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14])
}

/// The test of a log against a reference state.
///
/// # Errors
/// The reference state is malformed.
pub fn test(state: &Value) -> Result<Test, String> {
    let state = ReferenceState::parse(state)?;
    let build = || -> Result<Test, PatternError> {
        Ok(Test::Events { each: Box::new(each_event(&state)?), finally: Box::new(finally(&state)?) })
    };
    build().map_err(|error| error.to_string())
}

/// A GUID as logs have it, after the spelling that tools before tpm2-tools 5.2 gave it. Policies accept both, although logs
/// read here have the right one only, because the reference does: a signature list with a type that reads like the wrong
/// spelling is one that the reference knows.
type Spellings = [&'static str; 2];

const GLOBAL: Spellings = ["61dfe48b-ca93-d211-aa0d-00e098032b8c", "8be4df61-93ca-11d2-aa0d-00e098032b8c"];
const SECURITY: Spellings = ["cbb219d7-3a3d-9645-a3bc-dad00e67656f", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"];
const SHIM: Spellings = ["50ab5d60-46e0-0043-abb6-3dd810dd8b23", "605dab50-e046-4300-abb6-3dd810dd8b23"];
const X509: Spellings = ["a159c0a5-e494-a74a-87b5-ab155c2bf072", "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"];
const SHA256: Spellings = ["2616c4c1-4c50-9240-aca9-41f936934328", "c1c41626-504c-4092-aca9-41f936934328"];

/// The test of one event, by PCR and type. Every other combination is rejected.
fn each_event(state: &ReferenceState) -> Result<Test, PatternError> {
    let mut events = Dispatcher::new(&["PCRIndex", "EventType"]);
    let mut set = |pcr: i64, event_type: &str, test: Test| events.set([Key::Int(pcr), event_type.into()], test);
    // Only the header of the log.
    set(0, "EV_NO_ACTION", Test::once(Test::AcceptAll));
    set(0, "EV_S_CRTM_VERSION", collect(S_CRTMS));
    set(0, "EV_EFI_PLATFORM_FIRMWARE_BLOB", collect(FIRMWARE_BLOBS));
    set(0, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", collect(FIRMWARE_BLOBS));
    set(1, "EV_CPU_MICROCODE", Test::once(Test::AcceptAll));
    set(1, "EV_EFI_HANDOFF_TABLES", Test::once(Test::AcceptAll));
    set(1, "EV_EFI_HANDOFF_TABLES2", Test::once(Test::AcceptAll));
    // edk2 measures at most four.
    set(1, "EV_PLATFORM_CONFIG_FLAGS", Test::Or((0..4).map(|_| Test::once(Test::AcceptAll)).collect()));
    set(1, "EV_EFI_VARIABLE_BOOT", boot_variables()?);
    set(2, "EV_EFI_BOOT_SERVICES_DRIVER", Test::AcceptAll);
    set(4, "EV_EFI_BOOT_SERVICES_APPLICATION", collect(APPLICATIONS));
    set(5, "EV_EFI_GPT_EVENT", Test::once(Test::AcceptAll));
    set(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", configuration_variables(state));
    set(7, "EV_EFI_VARIABLE_AUTHORITY", authority_variables(state));
    set(8, "EV_IPL", boot_commands()?);
    set(9, "EV_IPL", boot_files()?);
    set(14, "EV_IPL", owner_keys(state));
    for pcr in [1, 4, 5] {
        set(pcr, "EV_EFI_ACTION", action_test(pcr.unsigned_abs().try_into().unwrap_or(u8::MAX)));
    }
    for pcr in 0..8 {
        set(pcr, "EV_SEPARATOR", separator_test());
    }
    Ok(Test::Dispatch(events))
}

const APPLICATIONS: &str = "bsas";
const INITRDS: &str = "ipl9s";
const VMLINUZ: &str = "vmlinuz";
const CMDLINES: &str = "kernel_cmdlines";
const S_CRTMS: &str = "s_crtms";
const FIRMWARE_BLOBS: &str = "platform_firmware_blobs";

fn collect(name: &str) -> Test {
    Test::Collect(name.to_owned())
}

/// The test of what was collected: one kernel and one firmware of the reference state have to fit.
fn finally(state: &ReferenceState) -> Result<Test, PatternError> {
    let kernels = state.kernels.iter().map(|kernel| kernel_test(kernel, state.secure_boot));
    let kernels = kernels.collect::<Result<_, _>>()?;
    let firmware = state.firmware.iter().map(firmware_test).collect();
    let names = [CMDLINES, APPLICATIONS, INITRDS, VMLINUZ, S_CRTMS, FIRMWARE_BLOBS].map(str::to_owned).to_vec();
    Ok(Test::Collected(names, Box::new(Test::And(vec![Test::Or(kernels), Test::Or(firmware)]))))
}

fn kernel_test(kernel: &Kernel, secure_boot: SecureBoot) -> Result<Test, PatternError> {
    let applications = |digests: &[&str]| Test::Tuple(digests.iter().copied().map(sha256).collect(), Padding::None);
    let (shim, grub, image) = (kernel.shim.as_str(), kernel.grub.as_str(), kernel.kernel.as_str());
    let (started, file) = match secure_boot {
        // Some firmware measures the kernel twice. Grub's measurement of the file adds nothing to that of the image.
        SecureBoot::On => (
            Test::Or(vec![applications(&[shim, grub, image]), applications(&[shim, grub, image, image])]),
            Test::AcceptAll,
        ),
        // The kernel is no application that the firmware starts.
        SecureBoot::Off => (applications(&[shim, grub]), sha256(image)),
    };
    let one = |test: Test| Test::Tuple(vec![test], Padding::None);
    // The pattern is continued, not grouped: an alternative at its top level splits the whole, as in the reference.
    let cmdline = Test::pattern(&format!("kernel_cmdline: {}", kernel.cmdline))?;
    Ok(Test::fields([
        (APPLICATIONS, started),
        (INITRDS, one(sha256(&kernel.initrd))),
        (VMLINUZ, one(file)),
        (CMDLINES, one(cmdline)),
    ]))
}

fn firmware_test(firmware: &Firmware) -> Test {
    let blobs = firmware.blobs.iter().cloned().map(Test::Digests).collect();
    Test::fields([
        (S_CRTMS, Test::Tuple(vec![Test::Digests(firmware.scrtm.clone())], Padding::None)),
        (FIRMWARE_BLOBS, Test::Tuple(blobs, Padding::None)),
    ])
}

fn sha256(digest: &str) -> Test {
    Test::Digests(DigestSet::one("sha256", digest))
}

fn boot_variables() -> Result<Test, PatternError> {
    let name = Pattern::new("BootOrder|Boot[0-9a-fA-F]+")?;
    let variable = |guid: &str| Test::Variable {
        guid: guid.to_owned(),
        name: NameRule::Matching(name.clone()),
        data: Box::new(Test::AcceptAll),
    };
    Ok(Test::Or(GLOBAL.into_iter().map(variable).collect()))
}

/// The secure boot variables (PCR 7).
fn configuration_variables(state: &ReferenceState) -> Test {
    let mut variables = VariableDispatcher::default();
    let mut set = |guids: Spellings, name: &str, test: &Test| {
        for guid in guids {
            variables.set(guid, name, test.clone());
        }
    };
    let enabled = match state.secure_boot {
        SecureBoot::On => "Yes",
        SecureBoot::Off => "No",
    };
    set(GLOBAL, "SecureBoot", &Test::field("Enabled", Test::text(enabled)));
    let certificates =
        |keys: &Arc<SignatureSet>| Test::Or(X509.iter().map(|spelling| Test::key_subset(&[spelling], keys)).collect());
    let certificates_and_digests = |keys: &Arc<SignatureSet>| {
        let spellings = X509.iter().zip(&SHA256);
        Test::Or(spellings.map(|(x509, sha256)| Test::key_subset(&[x509, sha256], keys)).collect())
    };
    let revocations =
        |keys: &Arc<SignatureSet>| Test::Or(SHA256.iter().map(|spelling| Test::key_superset(spelling, keys)).collect());
    set(GLOBAL, "PK", &once_with(state.pk.as_ref(), certificates));
    set(GLOBAL, "KEK", &once_with(state.kek.as_ref(), certificates));
    set(SECURITY, "db", &once_with(state.db.as_ref(), certificates_and_digests));
    set(SECURITY, "vendor_db", &once_with(state.vendor_db.as_ref(), certificates_and_digests));
    set(SECURITY, "dbx", &once_with(state.dbx.as_ref(), revocations));
    variables.into_test()
}

/// What the next stage was verified with (PCR 7). Shim's own digest is checked, so what it trusts needs no further check,
/// apart from the keys of its vendor.
fn authority_variables(state: &ReferenceState) -> Test {
    let mut variables = VariableDispatcher::default();
    let mut set = |guids: &[&'static str], name: &str, test: &Test| {
        for guid in guids {
            variables.set(guid, name, test.clone());
        }
    };
    let members = |keys: &Arc<SignatureSet>| Test::iterate(Test::SignatureSetMember(Arc::clone(keys)));
    set(&SECURITY, "db", &Test::once(Test::AcceptAll));
    set(&SECURITY, "vendor_db", &once_with(state.vendor_db.as_ref(), members));
    set(&SHIM, "SbatLevel", &Test::once(Test::AcceptAll));
    set(&SHIM, "Shim", &Test::once(Test::AcceptAll));
    let switch = ["Yes", "No"].map(|value| Test::field("Enabled", Test::text(value)));
    set(&SHIM[1..], "MokListTrusted", &Test::once(Test::Or(switch.to_vec())));
    set(&SHIM[1..], "MokListRT", &Test::once(Test::AcceptAll));
    variables.into_test()
}

/// A test for a variable that is measured once; any content will do when nothing is known about it.
fn once_with(keys: Option<&SignatureSet>, test: impl FnOnce(&Arc<SignatureSet>) -> Test) -> Test {
    Test::once(keys.map_or(Test::AcceptAll, |keys| test(&Arc::new(keys.clone()))))
}

/// The `String` of an EV_IPL event.
fn ipl_text(test: Test) -> Test {
    Test::field("Event", Test::field("String", test))
}

/// Commands of grub and the kernel's command line (PCR 8).
fn boot_commands() -> Result<Test, PatternError> {
    let cmdline = Test::And(vec![Test::pattern("kernel_cmdline: .*")?, collect(CMDLINES)]);
    Ok(ipl_text(Test::Or(vec![Test::pattern("(?s)grub_cmd: .*")?, cmdline])))
}

/// Files read by grub (PCR 9): the first kind that fits decides.
fn boot_files() -> Result<Test, PatternError> {
    let initrd = Test::Or(vec![Test::pattern(".*/initrd.*")?, Test::pattern(".*/initramfs.*")?]);
    Ok(Test::Or(vec![
        ipl_text(Test::pattern(".*/loader/entries.*")?),
        ipl_text(Test::pattern(".*/grub.*")?),
        Test::And(vec![ipl_text(Test::pattern(".*/vmlinuz.*")?), collect(VMLINUZ)]),
        Test::And(vec![ipl_text(initrd), collect(INITRDS)]),
    ]))
}

/// The machine owner's keys (PCR 14).
fn owner_keys(state: &ReferenceState) -> Test {
    let named = |name: &str, test: Test| Test::And(vec![ipl_text(Test::text(name)), test]);
    Test::Or(vec![
        named("MokList", Test::Digests(state.mok_list.clone())),
        named("MokListX", Test::Digests(state.mok_list_x.clone())),
        named("MokListTrusted", Test::once(Test::AcceptAll)),
    ])
}
