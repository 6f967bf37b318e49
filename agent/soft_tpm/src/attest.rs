//! Writing TPMS_ATTEST (TPM 2.0 Part 2, 10.12.8).

use super::marshal::{push_sized, push_u16};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::name::TpmName;
use keylime_engine::tpm::pcr_bank::PcrBank;

const TPM_GENERATED_VALUE: u32 = 0xFF54_4347;
const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
const TPM_ST_ATTEST_QUOTE: u16 = 0x8018;
const TPM_RH_ENDORSEMENT: u32 = 0x4000_000B;
const FIRMWARE_VERSION: u64 = 0x2026_0001_0000_0001;

/// What both kinds of attestation begin with.
pub(super) struct AttestHeader<'a> {
    /// Name of the signing key.
    pub(super) signer: TpmName,
    /// Name of its parent, a primary key of the endorsement hierarchy.
    pub(super) parent: TpmName,
    /// The caller's data.
    pub(super) qualifying: &'a [u8],
    /// The clock.
    pub(super) clock: ClockInfo,
}

impl AttestHeader<'_> {
    fn write(&self, kind: u16) -> Vec<u8> {
        let mut out = TPM_GENERATED_VALUE.to_be_bytes().to_vec();
        push_u16(&mut out, &[kind]);
        push_sized(&mut out, &qualified_name(&self.parent, &self.signer));
        push_sized(&mut out, self.qualifying);
        out.extend_from_slice(&self.clock.clock.to_be_bytes());
        out.extend_from_slice(&self.clock.reset_count.to_be_bytes());
        out.extend_from_slice(&self.clock.restart_count.to_be_bytes());
        out.push(self.clock.safe);
        out.extend_from_slice(&FIRMWARE_VERSION.to_be_bytes());
        out
    }
}

/// A quote; the digest of the values uses the signing key's hash.
pub(super) fn quote_attest(header: &AttestHeader<'_>, pcrs: &PcrBank, hash: HashAlgorithm) -> Vec<u8> {
    let mut out = header.write(TPM_ST_ATTEST_QUOTE);
    out.extend_from_slice(&1_u32.to_be_bytes());
    push_u16(&mut out, &[pcrs.algorithm().tpm_id()]);
    out.push(3);
    out.extend_from_slice(&pcrs.mask().to_select());
    let values: Vec<&[u8]> = pcrs.iter().map(|(_, value)| value.as_bytes()).collect();
    push_sized(&mut out, hash.digest(&values).as_bytes());
    out
}

/// The certification of a key.
pub(super) fn certify_attest(header: &AttestHeader<'_>, certified: &TpmName) -> Vec<u8> {
    let mut out = header.write(TPM_ST_ATTEST_CERTIFY);
    push_sized(&mut out, certified.as_bytes());
    push_sized(&mut out, &qualified_name(&header.parent, certified));
    out
}

/// The Qualified Name of a child of a primary key (TPM 2.0 Part 1, clause 16, "QN").
fn qualified_name(parent: &TpmName, child: &TpmName) -> Vec<u8> {
    let primary = chain(&TPM_RH_ENDORSEMENT.to_be_bytes(), parent);
    chain(&primary, child)
}

fn chain(above: &[u8], name: &TpmName) -> Vec<u8> {
    let id = name.as_bytes().first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    let hash = HashAlgorithm::from_tpm_id(id).unwrap_or(HashAlgorithm::Sha256);
    let mut out = id.to_be_bytes().to_vec();
    out.extend_from_slice(hash.digest(&[above, name.as_bytes()]).as_bytes());
    out
}
