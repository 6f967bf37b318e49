//! Verification of one quote, from its text: decoding, signature, nonce, PCR digest.

use criterion::{Criterion, criterion_group, criterion_main};
use keylime_bench::soft_tpm::{AttestationPair, EndorsementPair, SoftTpm};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::tpm::quote::{ExpectedNonce, QuoteEncoding, QuoteExpectation, QuoteParts, verify};
use keylime_engine::tpm::signature::SignatureScheme;
use std::hint::black_box;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

fn quote_verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quote_verify");
    let keys = [
        ("rsa2048", AttestationPair::generate_rsa2048(SignatureScheme::Rsassa, SHA256)),
        ("p256", AttestationPair::p256_from_seed(&[2; 32])),
    ];
    for (name, pair) in keys {
        let endorsement = EndorsementPair::p256_from_seed(&[1; 32]).expect("the seed gives a key");
        let mut tpm = SoftTpm::new(endorsement.into(), pair.expect("the key can be made").into(), &[SHA256]);
        let text = tpm.pull_quote(SHA256, PcrMask::of([10]), "nonce", "payload key").expect("the TPM quotes");
        let key = AttestationKey::from_tpm2b(tpm.attestation().public()).expect("the key is an AK");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let parts = QuoteParts::decode(black_box(&text), QuoteEncoding::Plain).expect("the quote decodes");
                let expected = QuoteExpectation { nonce: ExpectedNonce::Text("nonce"), hash_alg: "sha256" };
                verify(&parts, &key, &expected).expect("the quote is authentic")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, quote_verify);
criterion_main!(benches);
