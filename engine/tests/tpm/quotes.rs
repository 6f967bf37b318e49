//! Real quotes and edits of one, each with the verdict it must get.

use crate::vectors::{list, load, text};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::tpm::data_pcr::{DATA_PCR, extended_once};
use keylime_engine::tpm::quote::{ExpectedNonce, Quote, QuoteEncoding, QuoteExpectation, QuoteParts, verify};
use keylime_engine::tpm::verified::Verified;
use serde_json::Value;

const QUOTES: &str = include_str!("../data/quotes.json");
const BAD_SIGNATURE: &str = include_str!("../data/quote_bad_signature.json");

/// A verdict, with the texts of errors.
pub fn judge(aik_tpm: &str, quote: &str, nonce: &str, hash_alg: &str) -> Result<Verified<Quote>, String> {
    let key = AttestationKey::from_base64(aik_tpm).map_err(|e| e.to_string())?;
    let parts = QuoteParts::decode(quote, QuoteEncoding::Plain).map_err(|e| e.to_string())?;
    let expected = QuoteExpectation { nonce: ExpectedNonce::Text(nonce), hash_alg };
    verify(&parts, &key, &expected).map_err(|e| e.to_string())
}

fn assert_pcrs(quote: &Quote, expect: &Value, name: &str) {
    let expected = expect["pcrs"].as_object().unwrap();
    assert_eq!(quote.pcrs.mask().len(), expected.len(), "{name}");
    for (pcr, value) in quote.pcrs.iter() {
        assert_eq!(value.to_hex(), expected[&pcr.to_string()].as_str().unwrap(), "{name}: pcr {pcr}");
    }
}

#[test]
fn real_quotes_get_the_recorded_verdict() {
    let file = load(QUOTES);
    assert_eq!(list(&file, "quotes").len(), 16);
    for case in list(&file, "quotes") {
        let (name, response, expect) = (text(case, "name"), &case["response"], &case["expect"]);
        let key = AttestationKey::from_base64(text(case, "aik_tpm")).unwrap();
        assert_eq!(key.name().to_string(), text(expect, "ak_name_hex"), "{name}");
        let hash_alg = text(response, "hash_alg");
        let verdict = judge(text(case, "aik_tpm"), text(response, "quote"), text(case, "nonce"), hash_alg);
        if !expect["valid"].as_bool().unwrap() {
            assert_eq!(verdict.unwrap_err(), text(expect, "error"), "{name}");
            continue;
        }
        let quote = verdict.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_pcrs(&quote, expect, name);
        assert_eq!(serde_json::to_value(quote.clock).unwrap(), expect["clockInfo"], "{name}");
        let data_pcr = extended_once(quote.pcrs.algorithm(), text(response, "pubkey").as_bytes());
        assert_eq!(data_pcr.to_hex(), text(expect, "pcr16_expected"), "{name}");
        assert_eq!(quote.pcrs.get(DATA_PCR), Some(&data_pcr), "{name}");
    }
}

#[test]
fn edited_quotes_get_the_recorded_verdict() {
    let file = load(QUOTES);
    assert_eq!(list(&file, "mutated").len(), 32);
    for case in list(&file, "mutated") {
        let (name, expect) = (text(case, "name"), &case["expect"]);
        let verdict = judge(text(case, "aik_tpm"), text(case, "quote"), text(case, "nonce"), text(case, "hash_alg"));
        if expect["valid"].as_bool().unwrap() {
            let quote = verdict.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_pcrs(&quote, expect, name);
            continue;
        }
        let error = verdict.err().unwrap_or_else(|| panic!("{name} passed"));
        assert_eq!(error, own_text(expect["error"].as_str().unwrap()), "{name}");
    }
}

/// The recorded error text, or ours where the recorded one is that of a Python exception.
fn own_text(recorded: &str) -> &str {
    match recorded {
        "" => "signature does not verify",
        "11" => "pcr blob holds no bank sha256",
        "string index out of range" => "quote is empty",
        text if text.starts_with("unpack_from requires a buffer") => {
            "signature: 256 bytes are needed where 94 are left"
        }
        text if text.starts_with("Quote is not compound!") => "Quote is not compound!",
        text => text,
    }
}

#[test]
fn a_wrong_signature_is_never_success() {
    let file = load(BAD_SIGNATURE);
    let judge = |quote| judge(text(&file, "agent_ak"), text(&file, quote), text(&file, "nonce"), "sha256");
    assert!(judge("quote_good").is_ok());
    assert_eq!(judge("quote_bad_signature").unwrap_err(), "signature does not verify");
}

#[test]
fn cve_2022_23951_compressed_quotes_are_read_and_bombs_are_not() {
    use base64::Engine as _;
    use std::io::Write as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let deflate = |data: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        engine.encode(encoder.finish().unwrap())
    };
    let file = load(QUOTES);
    let case = &list(&file, "quotes")[1];
    let parts = QuoteParts::decode(text(&case["response"], "quote"), QuoteEncoding::Plain).unwrap();
    let compressed = format!("r{}:{}:{}", deflate(&parts.attest), deflate(&parts.signature), deflate(&parts.pcr_blob));
    assert_eq!(QuoteParts::decode(&compressed, QuoteEncoding::of_api_version("1.0")).unwrap(), parts);
    assert!(QuoteParts::decode(&parts.encode(), QuoteEncoding::of_api_version("1.0")).is_err());
    assert_eq!(QuoteParts::decode(&parts.encode(), QuoteEncoding::of_api_version("2.6")).unwrap(), parts);

    let bomb = format!("r{}:AA==:AA==", deflate(&vec![0; 32 << 20]));
    assert!(bomb.len() < 64 * 1024);
    let error = QuoteParts::decode(&bomb, QuoteEncoding::Zlib).unwrap_err();
    assert!(error.to_string().contains("does not decompress"), "{error}");
    let long = format!("r{}", "A".repeat(70_000));
    assert!(QuoteParts::decode(&long, QuoteEncoding::Plain).unwrap_err().to_string().contains("70001 bytes"));
}
