//! Quoting PCRs with the attestation key (`tpm-formats.md` §3).

use keylime_engine::tpm::pcr_bank::PcrBank;
use tss_esapi::structures::{AttestInfo, Data, SignatureScheme};
use tss_esapi::traits::Marshall as _;

use crate::tpm::esapi::EsapiTpm;
use crate::tpm::pcr::{DATA_PCR, indices_of_mask};
use crate::tpm::{Quote, QuoteRequest, TpmError};

/// Attempts to catch the PCRs standing still; IMA may extend PCR 10 between reading and quoting.
const ATTEMPTS: u32 = 5;

impl EsapiTpm {
    /// Binds the data to PCR 16, reads the PCRs and quotes them until both agree.
    pub(super) fn quote_pcrs(&mut self, request: &QuoteRequest) -> Result<Quote, TpmError> {
        let mut indices = indices_of_mask(request.pcr_mask)?;
        if request.bound_data.is_some() && !indices.contains(&DATA_PCR) {
            indices.push(DATA_PCR);
            indices.sort_unstable();
        }
        if let Some(digest) = &request.bound_data {
            self.bind_data(request.bank, digest)?;
        }
        for _ in 0..ATTEMPTS {
            let pcrs = self.read_pcrs(request.bank, &indices)?;
            let (attest, signature) = self.quote_once(request, &indices)?;
            let AttestInfo::Quote { info } = attest.attested() else {
                return Err(TpmError::UnexpectedAnswer { command: "quote" });
            };
            let values = pcrs.iter().map(|(_, value)| value.as_bytes()).collect::<Vec<_>>();
            if info.pcr_digest().as_slice() != request.bank.digest(&values).as_bytes() {
                continue;
            }
            return Ok(Quote {
                attest: attest.marshall().map_err(TpmError::command("marshal quote"))?,
                signature: signature.marshall().map_err(TpmError::command("marshal signature"))?,
                pcrs: PcrBank::from_values(request.bank, pcrs),
            });
        }
        Err(TpmError::PcrsChanging(ATTEMPTS))
    }

    fn quote_once(
        &mut self,
        request: &QuoteRequest,
        indices: &[u8],
    ) -> Result<(tss_esapi::structures::Attest, tss_esapi::structures::Signature), TpmError> {
        let key = self.attestation_key.ok_or(TpmError::KeyNotLoaded("attestation key"))?;
        let data = Data::try_from(request.qualifying_data.clone()).map_err(TpmError::command("convert nonce"))?;
        let selection = Self::selection(request.bank, indices)?;
        self.context
            .execute_with_nullauth_session(|context| context.quote(key, data, SignatureScheme::Null, selection))
            .map_err(TpmError::command("quote"))
    }
}
