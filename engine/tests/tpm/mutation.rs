//! CVE-2023-3674 and its successor: whatever byte of a quote is changed, it never verifies.

use crate::quotes::judge;
use crate::vectors::{list, load, text};
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static FILE: LazyLock<Value> = LazyLock::new(|| load(include_str!("../data/quotes.json")));

fn cases() -> Vec<&'static Value> {
    list(&FILE, "quotes").iter().filter(|case| case["expect"]["valid"] == true).collect()
}

fn passes(case: &Value, parts: &QuoteParts, nonce: &str) -> bool {
    judge(text(case, "aik_tpm"), &parts.encode(), nonce, text(&case["response"], "hash_alg")).is_ok()
}

fn parts_of(case: &Value) -> QuoteParts {
    QuoteParts::decode(text(&case["response"], "quote"), QuoteEncoding::Plain).unwrap()
}

#[test]
fn cve_2023_3674_every_changed_byte_of_attest_signature_and_nonce_fails() {
    // One RSA and one ECC quote with every byte; the property below covers the others.
    for case in [cases()[1], cases()[3]] {
        let (parts, nonce) = (parts_of(case), text(case, "nonce"));
        assert!(passes(case, &parts, nonce));
        for position in 0..parts.attest.len() {
            let mut edited = parts.clone();
            edited.attest[position] ^= 0x40;
            assert!(!passes(case, &edited, nonce), "attest byte {position}");
        }
        for position in 0..parts.signature.len() {
            let mut edited = parts.clone();
            edited.signature[position] ^= 0x40;
            assert!(!passes(case, &edited, nonce), "signature byte {position}");
        }
        for position in 0..nonce.len() {
            let mut edited = nonce.as_bytes().to_vec();
            edited[position] = if edited[position] == b'x' { b'y' } else { b'x' };
            assert!(!passes(case, &parts, &String::from_utf8(edited).unwrap()), "nonce byte {position}");
        }
    }
}

/// What a blob says: the values of the quoted PCRs. Bytes outside (unused slots, ignored counts) say nothing.
#[test]
fn cve_2023_3674_every_changed_byte_of_the_blob_fails_or_says_the_same() {
    let case = cases()[1];
    let (parts, nonce, hash_alg) = (parts_of(case), text(case, "nonce"), text(&case["response"], "hash_alg"));
    let original = judge(text(case, "aik_tpm"), &parts.encode(), nonce, hash_alg).unwrap();
    let mut unchanged = 0;
    for position in 0..parts.pcr_blob.len() {
        let mut edited = parts.clone();
        edited.pcr_blob[position] ^= 0x40;
        if let Ok(quote) = judge(text(case, "aik_tpm"), &edited.encode(), nonce, hash_alg) {
            assert_eq!(quote, original, "blob byte {position}");
            unchanged += 1;
        }
    }
    let significant = parts.pcr_blob.len() - unchanged;
    assert!(significant >= 6 * 34, "only {significant} bytes of the blob matter");
}

/// A host may reset PCR 23 and extend it to any value another PCR should have; the signed digest covers values only.
#[test]
fn a_value_cannot_be_presented_as_that_of_another_pcr() {
    let case = cases()[1];
    let (mut parts, nonce, hash_alg) = (parts_of(case), text(case, "nonce"), text(&case["response"], "hash_alg"));
    let select = &mut parts.pcr_blob[7..10];
    assert_eq!(select, [0x0F, 0x04, 0x01], "PCRs 0 to 3, 10 and 16");
    select.copy_from_slice(&[0x17, 0x04, 0x01]);
    let error = judge(text(case, "aik_tpm"), &parts.encode(), nonce, hash_alg).unwrap_err();
    assert_eq!(error, "The quoted PCR selection differs from the selection of the PCR values");
}

proptest! {
    #[test]
    fn edited_quotes_never_pass(which in 0_usize..12, part in 0_usize..2, position in any::<prop::sample::Index>(), change in 1_u8..) {
        let case = cases()[which];
        let mut parts = parts_of(case);
        let target = if part == 0 { &mut parts.attest } else { &mut parts.signature };
        let position = position.index(target.len());
        target[position] ^= change;
        prop_assert!(!passes(case, &parts, text(case, "nonce")));
    }

    #[test]
    fn decoding_is_total(text in ".{0,300}") {
        let _outcome = QuoteParts::decode(&text, QuoteEncoding::Plain);
        let _outcome = QuoteParts::decode(&format!("r{text}"), QuoteEncoding::Zlib);
    }
}
