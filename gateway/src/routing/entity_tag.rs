//! Entity tags of answers, as the reference's web framework makes them (`verifier-v2.md` §1): SHA-1 of the body in quotes.
//! Nothing rests on them but a client's cache.

use super::{Reply, ReplyBody};
use actix_web::http::{Method, StatusCode};
use sha1::{Digest as _, Sha1};

/// Gives a whole answer to a GET its tag; the body is left out when the client has it, as `if_none_match` says.
pub(super) fn tagged(mut reply: Reply, method: &Method, if_none_match: Option<&[u8]>) -> Reply {
    let ReplyBody::Text(text) = &reply.body else { return reply };
    if *method != Method::GET || reply.status != StatusCode::OK {
        return reply;
    }
    let tag = format!("\"{}\"", hex::encode(Sha1::digest(&text.bytes)));
    if if_none_match.is_some_and(|known| has(known, &tag)) {
        reply.status = StatusCode::NOT_MODIFIED;
        reply.body = ReplyBody::NoContent;
    }
    reply.entity_tag = Some(tag);
    reply
}

/// Whether a list of tags has this one, weak or not (RFC 9110 §13.1.2).
fn has(known: &[u8], tag: &str) -> bool {
    let Ok(known) = std::str::from_utf8(known) else { return false };
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: &Method, known: Option<&[u8]>) -> Reply {
        tagged(Reply::text(StatusCode::OK, "text/plain", "body".to_owned()), method, known)
    }

    const TAG: &str = "\"02083f4579e08a612425c0c1a17ee47add783b94\"";

    #[test]
    fn whole_answers_to_get_have_a_tag() {
        let reply = answer(&Method::GET, None);
        assert_eq!((reply.status, reply.entity_tag.as_deref()), (StatusCode::OK, Some(TAG)));
        assert_eq!(answer(&Method::POST, None).entity_tag, None);
        let missing = tagged(Reply::text(StatusCode::NOT_FOUND, "text/plain", String::new()), &Method::GET, None);
        assert_eq!(missing.entity_tag, None);
    }

    #[test]
    fn who_has_the_body_is_told_so() {
        for known in [TAG, "*", &format!("\"a\", W/{TAG}")] {
            let reply = answer(&Method::GET, Some(known.as_bytes()));
            assert_eq!((reply.status, reply.entity_tag.as_deref()), (StatusCode::NOT_MODIFIED, Some(TAG)), "{known}");
            assert!(matches!(reply.body, ReplyBody::NoContent));
        }
        for known in ["", "\"a\"", TAG.trim_matches('"'), "\u{ff}"] {
            assert_eq!(answer(&Method::GET, Some(known.as_bytes())).status, StatusCode::OK, "{known}");
        }
        assert_eq!(answer(&Method::GET, Some(&[0xff])).status, StatusCode::OK);
    }
}
