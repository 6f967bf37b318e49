//! IAK and IDevID: the manufacturer's identity of a device (`registrar.md` §4 steps 4 and 5, `registration-flow.md` §5;
//! IEEE 802.1AR, TCG "TPM 2.0 Keys for Device Identity and Attestation").

use super::attestation_key::AttestationKey;
use super::certificate::Certificate;
use super::certification::{CertificationExpectation, QualifyingData, verify_certification};
use super::registration::{Registration, RegistrationRequest, TpmIdentity, same_key};
use super::registration_member::{Member, Members};
use crate::tpm::public_area::PublicArea;

/// Checks keys, certificates and the certification of the AK by the IAK; adds a reason for each that fails.
pub(super) fn check(
    request: &RegistrationRequest<'_>,
    rule: TpmIdentity,
    members: &Members,
    merged: &Registration,
    ak: Option<&AttestationKey>,
    errors: &mut Vec<String>,
) {
    require(rule, members, merged, errors);
    if let Some(iak) = &sent_or_certified(&members.iak_tpm, &members.iak_cert, merged.iak_tpm.as_deref()) {
        match AttestationKey::from_base64(iak) {
            Ok(key) => {
                let stored = merged.iak_cert.as_deref();
                same_key(
                    "iak_tpm",
                    key.public_key(),
                    "iak_cert",
                    members.iak_cert.value().map(Box::as_ref),
                    stored,
                    errors,
                );
                if members.iak_tpm.is_present() {
                    certified_by(&key, request, members, ak, errors);
                }
            }
            Err(error) => errors.push(format!("iak_tpm: {error}")),
        }
    }
    if let Some(idevid) = &sent_or_certified(&members.idevid_tpm, &members.idevid_cert, merged.idevid_tpm.as_deref()) {
        match PublicArea::from_base64(idevid) {
            Ok(area) => {
                let stored = merged.idevid_cert.as_deref();
                same_key(
                    "idevid_tpm",
                    area.key(),
                    "idevid_cert",
                    members.idevid_cert.value().map(Box::as_ref),
                    stored,
                    errors,
                );
            }
            Err(error) => errors.push(format!("idevid_tpm: {error}")),
        }
    }
    for (name, certificate) in [("iak_cert", &members.iak_cert), ("idevid_cert", &members.idevid_cert)] {
        if let Some(certificate) = certificate.value()
            && let Err(reason) = request.authorities.endorses(certificate)
        {
            errors.push(format!("{name}: {reason}"));
        }
    }
}

/// Which members must be there (step 5).
fn require(rule: TpmIdentity, members: &Members, merged: &Registration, errors: &mut Vec<String>) {
    let mut demand = |name: &str, value: &Option<String>, why: &str| {
        if value.is_none() {
            errors.push(format!("{name}: is required {why}"));
        }
    };
    match rule {
        TpmIdentity::DeviceIdentity => {
            let why = "by tpm_identity";
            demand("iak_tpm", &merged.iak_tpm, why);
            demand("idevid_tpm", &merged.idevid_tpm, why);
            // The reference lets a machine drop the certificates of stored keys; here a demanded identity stays vouched for.
            demand("iak_cert", &merged.iak_cert, why);
            demand("idevid_cert", &merged.idevid_cert, why);
        }
        TpmIdentity::Ek => demand("ek_tpm", &merged.ek_tpm, "by tpm_identity"),
        TpmIdentity::EkOrDeviceIdentity => {
            if merged.iak_tpm.is_none() || merged.idevid_tpm.is_none() {
                demand("ek_tpm", &merged.ek_tpm, "without iak and idevid");
            }
        }
    }
    if members.iak_tpm.value().is_some() || members.idevid_tpm.value().is_some() {
        demand("iak_cert", &merged.iak_cert, "with an iak or idevid");
        demand("idevid_cert", &merged.idevid_cert, "with an iak or idevid");
    }
    if members.iak_cert.value().is_some() || members.idevid_cert.value().is_some() {
        demand("iak_tpm", &merged.iak_tpm, "with a certificate");
        demand("idevid_tpm", &merged.idevid_tpm, "with a certificate");
    }
}

/// The key to look at: the one that would be stored, if the request brings it or its certificate.
fn sent_or_certified(
    key: &Member<Vec<u8>>,
    certificate: &Member<Box<Certificate>>,
    merged: Option<&str>,
) -> Option<String> {
    (key.is_present() || certificate.is_present()).then(|| merged.map(str::to_owned)).flatten()
}

/// A sent IAK must certify the AK of this registration, sent or stored, for this agent.
fn certified_by(
    iak: &AttestationKey,
    request: &RegistrationRequest<'_>,
    members: &Members,
    ak: Option<&AttestationKey>,
    errors: &mut Vec<String>,
) {
    let (Some(attest), Some(signature)) = (members.iak_attest.value(), members.iak_sign.value()) else {
        errors.push("iak_attest and iak_sign: are required with an iak".to_owned());
        return;
    };
    // Without an AK the registration fails for that reason.
    let Some(ak) = ak else { return };
    let expected = CertificationExpectation {
        certified: ak.name(),
        qualifying: QualifyingData::Agent(request.agent_id),
        scheme: None,
        hash: None,
    };
    match verify_certification(attest, signature, iak, &expected) {
        Ok(_certified) => {}
        Err(error) => errors.push(format!("iak_attest: {error}")),
    }
}
