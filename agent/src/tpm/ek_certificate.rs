//! The EK certificate and its chain in the TPM's NV storage (`tpm-formats.md` §6).

use tss_esapi::Context;
use tss_esapi::abstraction::nv;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::{NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::structures::CapabilityData;

use crate::tpm::KeyAlgorithm;
use crate::tpm::esapi::EsapiTpm;

/// First and last NV index of the EK certificate chain.
const CHAIN: (u32, u32) = (0x01C0_0100, 0x01C0_01FF);
/// NV indices of one kind a TPM may list; the library's limit for handles.
const MAX_HANDLES: u32 = 254;

impl EsapiTpm {
    /// The DER of the EK certificate, or nothing where the TPM's maker left none.
    pub(super) fn endorsement_certificate(&mut self, algorithm: KeyAlgorithm) -> Option<Vec<u8>> {
        let index = certificate_index(algorithm)?;
        // Asking for an index that does not exist makes the TPM library print errors of its own.
        if !self.nv_indices(index, index).contains(&index) {
            tracing::info!(target: "keylime.agent", index = format!("{index:#x}"), "no ek certificate in the tpm");
            return None;
        }
        match read_nv(&mut self.context, index) {
            Ok(content) => Some(without_padding(content)),
            Err(error) => {
                tracing::warn!(target: "keylime.agent", %error, "cannot read the ek certificate from the tpm");
                None
            }
        }
    }

    /// The DER of each certificate in the chain's NV range; empty if one index cannot be read.
    pub(super) fn endorsement_chain(&mut self) -> Vec<Vec<u8>> {
        let mut content = Vec::new();
        for index in self.nv_indices(CHAIN.0, CHAIN.1) {
            match read_nv(&mut self.context, index) {
                Ok(part) => content.extend_from_slice(&part),
                Err(error) => {
                    tracing::warn!(target: "keylime.agent", %error, "cannot read the ek certificate chain from the tpm");
                    return Vec::new();
                }
            }
        }
        split_certificates(&content)
    }

    /// Defined NV indices from `first` to `last`.
    fn nv_indices(&mut self, first: u32, last: u32) -> Vec<u32> {
        let answer = self
            .context
            .execute_without_session(|context| context.get_capability(CapabilityType::Handles, first, MAX_HANDLES));
        match answer {
            Ok((CapabilityData::Handles(handles), _)) => {
                let indices = handles.iter().map(|&handle| u32::from(handle));
                indices.filter(|index| (first..=last).contains(index)).collect()
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

/// Where the certificate of this kind of EK is kept.
fn certificate_index(algorithm: KeyAlgorithm) -> Option<u32> {
    match algorithm {
        KeyAlgorithm::Rsa2048 => Some(0x01C0_0002),
        KeyAlgorithm::Ecc256 => Some(0x01C0_000A),
        KeyAlgorithm::Ecc384 => Some(0x01C0_0016),
        KeyAlgorithm::Ecc521 => Some(0x01C0_0018),
        KeyAlgorithm::EccSm2 => Some(0x01C0_001A),
        KeyAlgorithm::Rsa3072 => Some(0x01C0_001C),
        KeyAlgorithm::Rsa4096 => Some(0x01C0_001E),
        KeyAlgorithm::Rsa1024 | KeyAlgorithm::Ecc192 | KeyAlgorithm::Ecc224 => None,
    }
}

fn read_nv(context: &mut Context, index: u32) -> Result<Vec<u8>, tss_esapi::Error> {
    let index = NvIndexTpmHandle::new(index)?;
    let object = context.execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::NvIndex(index)))?;
    context.execute_with_nullauth_session(|context| nv::read_full(context, NvAuth::NvIndex(object.into()), index))
}

/// Cuts what follows the outermost DER structure: NV indices are often larger than the certificate in them.
fn without_padding(mut content: Vec<u8>) -> Vec<u8> {
    match sequence_length(&content) {
        Some(length) => content.truncate(length),
        None => tracing::warn!(target: "keylime.agent", "ek certificate in the tpm is not der, sending it as it is"),
    }
    content
}

/// The DER structures one after the other in `content`, up to the first byte that starts none.
fn split_certificates(content: &[u8]) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    let mut rest = content;
    while let Some((certificate, tail)) = sequence_length(rest).and_then(|length| rest.split_at_checked(length)) {
        certificates.push(certificate.to_vec());
        rest = tail;
    }
    certificates
}

/// Length of the DER SEQUENCE at the start of `data`, header included, if it is there completely.
fn sequence_length(data: &[u8]) -> Option<usize> {
    let (&tag, rest) = data.split_first()?;
    if tag != 0x30 {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (header, body) = match first {
        0..=0x7F => (2, usize::from(first)),
        0x81..=0x83 => {
            let count = usize::from(first & 0x7F);
            let octets = rest.get(..count)?;
            (2 + count, octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)))
        }
        _ => return None,
    };
    (data.len() >= header + body).then_some(header + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut() {
        assert_eq!(without_padding(vec![0x30, 2, 5, 0, 0, 0, 0]), [0x30, 2, 5, 0]);
        let mut long = vec![0x30, 0x82, 0x01, 0x00];
        long.resize(4 + 256 + 30, 0);
        assert_eq!(without_padding(long).len(), 260);
        assert_eq!(without_padding(vec![1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn a_chain_ends_at_the_first_foreign_byte() {
        assert_eq!(split_certificates(&[0x30, 0, 0x30, 1, 9, 0, 0x30, 0]), vec![vec![0x30, 0], vec![0x30, 1, 9]]);
        assert_eq!(split_certificates(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), Vec::<Vec<u8>>::new());
        assert_eq!(split_certificates(&[0x30, 5, 1]), Vec::<Vec<u8>>::new());
    }
}
