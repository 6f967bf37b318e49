//! The quote as text for the pull API (`tpm-formats.md` §2 and §2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tpm::Quote;

/// Bank selections in the PCR part, always this many, unused ones zero.
const SELECTION_SLOTS: usize = 16;
/// Bytes of one selection: algorithm, size, four mask bytes, padding.
const SELECTION_BYTES: usize = 8;
/// Digests in one list.
const DIGESTS_PER_LIST: usize = 8;
/// Room for the value of one digest.
const DIGEST_BUFFER_BYTES: usize = 64;

/// Writes a quote as `r<attest>:<signature>:<pcrs>`, each part in base64.
#[must_use]
pub fn encode(quote: &Quote) -> String {
    format!(
        "r{}:{}:{}",
        STANDARD.encode(&quote.attest),
        STANDARD.encode(&quote.signature),
        STANDARD.encode(pcr_part(quote))
    )
}

/// The PCR part mirrors C structures in memory, hence little endian and fixed sizes.
fn pcr_part(quote: &Quote) -> Vec<u8> {
    let mask = quote.pcrs.iter().fold(0u32, |mask, (index, _)| mask | 1u32 << index);
    let mut out = Vec::with_capacity(136 + 532 * quote.pcrs.len().div_ceil(DIGESTS_PER_LIST));
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&quote.bank.tpm_id().to_le_bytes());
    out.push(3);
    out.extend_from_slice(&mask.to_le_bytes());
    out.push(0);
    out.resize(4 + SELECTION_SLOTS * SELECTION_BYTES, 0);

    let lists = quote.pcrs.chunks(DIGESTS_PER_LIST);
    out.extend_from_slice(&little_endian(lists.len()));
    for list in lists {
        out.extend_from_slice(&little_endian(list.len()));
        for (_, value) in list {
            let value = value.as_bytes();
            out.extend_from_slice(&little_endian(value.len())[..2]);
            out.extend_from_slice(value);
            out.resize(out.len() + DIGEST_BUFFER_BYTES - value.len(), 0);
        }
        out.resize(out.len() + (DIGESTS_PER_LIST - list.len()) * (2 + DIGEST_BUFFER_BYTES), 0);
    }
    out
}

/// Counts here are at most 64.
fn little_endian(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::algorithm::{Digest, HashAlgorithm};

    fn quote(indices: &[u8]) -> Quote {
        Quote {
            attest: b"attest".to_vec(),
            signature: b"signature".to_vec(),
            bank: HashAlgorithm::Sha256,
            pcrs: indices.iter().map(|&index| (index, Digest::filled(index, 32))).collect(),
        }
    }

    #[test]
    fn one_pcr_takes_668_bytes() {
        let part = pcr_part(&quote(&[16]));
        assert_eq!(part.len(), 668);
        assert_eq!(part[..12], [1, 0, 0, 0, 0x0B, 0, 3, 0, 0, 1, 0, 0]);
        assert_eq!(part[132..142], [1, 0, 0, 0, 1, 0, 0, 0, 32, 0]);
        assert_eq!(part[142..174], [16; 32]);
        assert!(part[174..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn nine_pcrs_take_two_lists() {
        let part = pcr_part(&quote(&[0, 1, 2, 3, 4, 5, 6, 7, 16]));
        assert_eq!(part.len(), 136 + 2 * 532);
        assert_eq!(part[132..140], [2, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(part[668..674], [1, 0, 0, 0, 32, 0]);
    }

    #[test]
    fn text_has_three_parts() {
        let text = encode(&quote(&[16]));
        assert!(text.starts_with("rYXR0ZXN0:c2lnbmF0dXJl:AQAAAAsA"), "{text}");
    }
}
