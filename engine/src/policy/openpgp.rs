//! OpenPGP signatures over a file (RFC 9580), as a `gpg --verify` with the given keys and no others would judge them.
//!
//! What counts is that a key of the block made the signature and that neither has expired or been revoked; the owner's trust
//! in the key is expressed by giving it. Signatures over MD5, SHA-1 and RIPEMD-160 vouch for nothing.

use super::detached_signature::DetachedSignatureError;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Tag, VerifyingKey};

/// Most keys of a block that are looked at, and most subkeys of one key.
const MAX_KEYS: usize = 64;

/// Verifies with the keys of an armored block.
pub(super) fn verify(key: &[u8], signature: &[u8], body: &[u8], now: u64) -> Result<(), DetachedSignatureError> {
    let read_key = |error: pgp::errors::Error| DetachedSignatureError::Key(error.to_string());
    let read_signature = |error: pgp::errors::Error| DetachedSignatureError::Signature(error.to_string());
    let (signature, _) = DetachedSignature::from_reader_single(signature).map_err(read_signature)?;
    check_signature(&signature.signature, now)?;
    let (keys, _) = SignedPublicKey::from_armor_many(key).map_err(read_key)?;
    let mut verdict = DetachedSignatureError::Wrong;
    for key in keys.take(MAX_KEYS) {
        match verify_with(&key.map_err(read_key)?, &signature, body, now) {
            Ok(()) => return Ok(()),
            Err(DetachedSignatureError::Wrong) => {}
            // A key that made the signature but may no longer says more than one that did not make it.
            Err(other) => verdict = other,
        }
    }
    Err(verdict)
}

fn check_signature(signature: &Signature, now: u64) -> Result<(), DetachedSignatureError> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(DetachedSignatureError::Signature("not a signature over a document".to_owned()));
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha224
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        Some(weak) => return Err(DetachedSignatureError::Signature(format!("the hash {weak} is not accepted"))),
        None => return Err(DetachedSignatureError::Signature("no hash algorithm".to_owned())),
    }
    let created = signature.created().map(|time| u64::from(time.as_secs()));
    let lifetime = signature.signature_expiration_time().map(|time| u64::from(time.as_secs()));
    if has_expired(created, lifetime, now) {
        return Err(DetachedSignatureError::NotValid("signature has expired"));
    }
    Ok(())
}

fn verify_with(
    key: &SignedPublicKey,
    signature: &DetachedSignature,
    body: &[u8],
    now: u64,
) -> Result<(), DetachedSignatureError> {
    let made_by_primary = signature.verify(&key.primary_key, body).is_ok();
    let subkey = key.public_subkeys.iter().take(MAX_KEYS).find(|subkey| signature.verify(&subkey.key, body).is_ok());
    if !made_by_primary && subkey.is_none() {
        return Err(DetachedSignatureError::Wrong);
    }
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|made| made.verify_key(primary).is_ok()) {
        return Err(DetachedSignatureError::NotValid("key was revoked"));
    }
    let latest = latest_self_signature(key);
    let latest = latest.ok_or_else(|| DetachedSignatureError::Key("no valid self-signature".to_owned()))?;
    check_lifetime(&key.primary_key, latest, now)?;
    if made_by_primary {
        return Ok(());
    }
    let Some(subkey) = subkey else { return Err(DetachedSignatureError::Wrong) };
    subkey.verify_bindings(&key.primary_key).map_err(|error| DetachedSignatureError::Key(error.to_string()))?;
    if subkey.signatures.iter().any(|made| made.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(DetachedSignatureError::NotValid("key was revoked"));
    }
    let binding = subkey.signatures.iter().filter(|made| made.typ() == Some(SignatureType::SubkeyBinding));
    match binding.max_by_key(|made| made.created()) {
        Some(binding) if binding.key_flags().sign() => check_lifetime(&subkey.key, binding, now),
        Some(_) | None => Err(DetachedSignatureError::Key("the subkey must not sign".to_owned())),
    }
}

/// The latest valid signature that the key made about itself or one of its users; those of others say nothing here.
fn latest_self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let of_users = key.details.users.iter().flat_map(|user| {
        let own = |made: &&Signature| made.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(|made| made.typ() != Some(SignatureType::CertRevocation)).filter(own)
    });
    let direct = key.details.direct_signatures.iter().filter(|made| made.verify_key(primary).is_ok());
    of_users.chain(direct).max_by_key(|made| made.created())
}

fn check_lifetime(key: &impl VerifyingKey, about: &Signature, now: u64) -> Result<(), DetachedSignatureError> {
    let lifetime = about.key_expiration_time().map(|time| u64::from(time.as_secs()));
    match has_expired(Some(u64::from(key.created_at().as_secs())), lifetime, now) {
        true => Err(DetachedSignatureError::NotValid("key has expired")),
        false => Ok(()),
    }
}

/// A lifetime of zero means none (RFC 9580 §5.2.3.13, §5.2.3.18).
fn has_expired(created: Option<u64>, lifetime: Option<u64>, now: u64) -> bool {
    lifetime
        .filter(|lifetime| *lifetime > 0)
        .is_some_and(|lifetime| now >= created.unwrap_or(0).saturating_add(lifetime))
}

#[cfg(test)]
mod tests {
    use super::super::detached_signature::{DetachedSignatureError, verify_detached};

    const BODY: &[u8] = include_bytes!("../../tests/data/openpgp/body.txt");
    const NOW: u64 = 1_795_500_000;

    const KEYS: [(&str, &[u8], &[u8]); 3] = [
        ("rsa", include_bytes!("../../tests/data/openpgp/rsa.pub"), include_bytes!("../../tests/data/openpgp/rsa.asc")),
        (
            "ed25519",
            include_bytes!("../../tests/data/openpgp/ed25519.pub"),
            include_bytes!("../../tests/data/openpgp/ed25519.sig"),
        ),
        (
            "subkey",
            include_bytes!("../../tests/data/openpgp/subkey.pub"),
            include_bytes!("../../tests/data/openpgp/subkey.asc"),
        ),
    ];

    #[test]
    fn signatures_made_by_gnupg_verify_with_their_key_only() {
        for (name, key, signature) in KEYS {
            assert_eq!(verify_detached(key, signature, BODY, NOW), Ok(()), "{name}");
            let edited = [BODY, b"x"].concat();
            assert_eq!(verify_detached(key, signature, &edited, NOW), Err(DetachedSignatureError::Wrong), "{name}");
            for (other, key, _) in KEYS.into_iter().filter(|(other, ..)| *other != name) {
                let verdict = verify_detached(key, signature, BODY, NOW);
                assert_eq!(verdict, Err(DetachedSignatureError::Wrong), "{name} with {other}");
            }
        }
        let ring = [KEYS[0].1, KEYS[1].1].concat();
        assert!(verify_detached(&ring, KEYS[0].2, BODY, NOW).is_ok());
    }

    #[test]
    fn what_has_expired_or_was_revoked_does_not_count() {
        let key = include_bytes!("../../tests/data/openpgp/expiring.pub");
        let signature = include_bytes!("../../tests/data/openpgp/expiring.asc");
        let created = 1_700_000_000;
        assert_eq!(verify_detached(key, signature, BODY, created + 3600), Ok(()));
        let expired = verify_detached(key, signature, BODY, created + 2 * 86_400);
        assert_eq!(expired, Err(DetachedSignatureError::NotValid("key has expired")));
        let revoked = include_bytes!("../../tests/data/openpgp/revoked.pub");
        let verdict = verify_detached(revoked, KEYS[1].2, BODY, NOW);
        assert_eq!(verdict, Err(DetachedSignatureError::NotValid("key was revoked")));
    }

    #[test]
    fn weak_hashes_and_edited_signatures_are_refused() {
        let weak = include_bytes!("../../tests/data/openpgp/rsa-sha1.asc");
        assert!(matches!(verify_detached(KEYS[0].1, weak, BODY, NOW), Err(DetachedSignatureError::Signature(_))));
        let signature = KEYS[1].2;
        for position in 0..signature.len() {
            let mut edited = signature.to_vec();
            edited[position] ^= 0x20;
            let verdict = verify_detached(KEYS[1].1, &edited, BODY, NOW);
            // Bytes of the unhashed area (the issuer's id) are not covered; those of the signature and its digest are.
            assert!(verdict.is_err() || (53..65).contains(&position), "byte {position}: {verdict:?}");
        }
        for garbage in [&b""[..], b"-----BEGIN PGP SIGNATURE-----", &[0x88], &[0xff; 100]] {
            assert!(verify_detached(KEYS[0].1, garbage, BODY, NOW).is_err());
        }
    }
}
