use super::super::error_object::http_status;
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(document: Value) -> Result<Option<RequestResource>, MalformedDocument> {
    parse(document.to_string().as_bytes())
}

#[test]
fn a_session_request_is_read() {
    let resource = read(json!({"data": {"type": "session", "attributes": {"agent_id": "a1", "n": 0, "l": []}}}));
    let resource = resource.unwrap().unwrap();
    assert_eq!(resource.kind, "session");
    assert_eq!(resource.id, None);
    assert_eq!(Value::Object(resource.attributes), json!({"agent_id": "a1", "n": 0, "l": []}));
}

#[test]
fn an_id_among_the_attributes_becomes_the_id_of_the_resource() {
    let inner =
        read(json!({"data": {"type": "session", "id": "x", "attributes": {"id": "y", "b": 1}}})).unwrap().unwrap();
    assert_eq!((inner.id.as_deref(), inner.attributes.len()), (Some("y"), 1));
    let outer = read(json!({"data": {"type": "session", "id": "x"}})).unwrap().unwrap();
    assert_eq!(outer.id.as_deref(), Some("x"));
}

#[test]
fn documents_without_data_are_read() {
    assert_eq!(read(json!({"meta": {"a": 1}, "jsonapi": {"version": "1.1"}})), Ok(None));
    assert_eq!(read(json!({"errors": [{"status": "400"}]})), Ok(None));
}

#[test]
fn unknown_and_empty_members_make_a_document_malformed() {
    let member = |name: &str| Err(MalformedDocument::Member(name.to_owned()));
    assert_eq!(read(json!({"data": {"type": "session"}, "other": 1})), member("other"));
    assert_eq!(read(json!({"data": {}})), member("data"));
    assert_eq!(read(json!({"data": null})), member("data"));
    assert_eq!(read(json!({"data": {"type": "session"}, "meta": {}})), member("meta"));
    assert_eq!(read(json!({"data": {"type": ""}})), member("type"));
    assert_eq!(read(json!({"data": {"type": "session", "attributes": {}}})), member("attributes"));
    assert_eq!(read(json!({"data": {"type": "session", "relationships": {"a": 1}}})), member("relationships"));
    assert_eq!(read(json!({"data": {"type": "session", "id": 0}})), member("id"));
}

#[test]
fn wrong_types_and_names_make_a_document_malformed() {
    assert_eq!(read(json!([])), Err(MalformedDocument::NotAnObject("document")));
    assert_eq!(read(json!({"data": [{"type": "session"}]})), Err(MalformedDocument::NotAnObject("data")));
    assert_eq!(read(json!({"links": {"self": "/"}})), Err(MalformedDocument::Empty));
    assert_eq!(read(json!({"data": {"id": "x"}})), Err(MalformedDocument::Type));
    assert_eq!(read(json!({"data": {"type": "a b"}})), Err(MalformedDocument::Type));
    assert_eq!(read(json!({"data": {"type": "session", "id": 1}})), Err(MalformedDocument::Id));
    assert_eq!(read(json!({"data": {"type": "s", "attributes": {"id": 1}}})), Err(MalformedDocument::Id));
    assert_eq!(
        read(json!({"data": {"type": "s", "attributes": [1]}})),
        Err(MalformedDocument::NotAnObject("attributes"))
    );
    for attributes in [json!({"a": null}), json!({"_a": 1}), json!({"": 1})] {
        let refused = read(json!({"data": {"type": "s", "attributes": attributes}}));
        assert!(matches!(refused, Err(MalformedDocument::Attribute(_))));
    }
    assert!(matches!(parse(b"{"), Err(MalformedDocument::Json(_))));
    assert!(matches!(parse(b""), Err(MalformedDocument::Json(_))));
    assert!(matches!(parse("[".repeat(100_000).as_bytes()), Err(MalformedDocument::Json(_))));
}

#[test]
fn an_answer_has_the_references_bytes() {
    let resource = Resource {
        kind: "attestation",
        id: None,
        attributes: json!({"stage": "awaiting_evidence", "note": "</script>é"}),
        self_link: Some("/v3.0/agents/a/attestations/0".to_owned()),
    };
    let text =
        Document::one(resource).with_meta("seconds_to_next_attestation", 3).render("/v3.0/agents/a/attestations");
    assert_eq!(
        String::from_utf8(text.unwrap()).unwrap(),
        concat!(
            r#"{"data": {"type": "attestation", "attributes": {"stage": "awaiting_evidence", "note": "<\/script>\u00e9"}, "#,
            r#""links": {"self": "/v3.0/agents/a/attestations/0"}}, "meta": {"seconds_to_next_attestation": 3}, "#,
            r#""links": {"self": "/v3.0/agents/a/attestations"}, "jsonapi": {"version": "1.1"}}"#
        )
    );
}

#[test]
fn an_error_answer_has_the_references_bytes() {
    let path = "/v3.0/agents/d432fbb3-d2f1-4a97-9ef7-75bd81c0000a/attestations";
    let error = ErrorObject::invalid_resource_data("Attribute 'evidence' is required.", "/data/attributes/evidence");
    assert_eq!(
        String::from_utf8(Document::errors(vec![error]).render(path).unwrap()).unwrap(),
        concat!(
            r#"{"errors": [{"status": "422", "code": "invalid_resource_data", "detail": "Attribute 'evidence' is required.", "#,
            r#""source": {"pointer": "/data/attributes/evidence"}}], "#,
            r#""links": {"self": "/v3.0/agents/d432fbb3-d2f1-4a97-9ef7-75bd81c0000a/attestations"}, "jsonapi": {"version": "1.1"}}"#
        )
    );
}

#[test]
fn the_status_of_several_errors() {
    let not_found = || ErrorObject::not_found("x");
    let conflict = || ErrorObject::conflict("x");
    assert_eq!(http_status(&[not_found(), not_found()]), 404);
    assert_eq!(http_status(&[not_found(), conflict()]), 400);
    assert_eq!(http_status(&[not_found(), ErrorObject::new(503, "x", "y")]), 500);
    assert_eq!(http_status(&[]), 500);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z_@:<>/ -]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let names = prop_oneof![
            Just("data".to_owned()),
            Just("type".to_owned()),
            Just("id".to_owned()),
            Just("attributes".to_owned()),
            Just("meta".to_owned()),
            "[a-z_]{0,4}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_accepted_keeps_the_rules(document in any_json()) {
        if let Ok(Some(resource)) = read(document) {
            prop_assert!(is_member_name(&resource.kind));
            prop_assert!(resource.attributes.iter().all(|(name, value)| is_member_name(name) && !value.is_null() && name != "id"));
        }
    }

    #[test]
    fn no_bytes_break_the_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn answers_are_json_and_hold_no_end_tag(attributes in any_json()) {
        let resource = Resource { kind: "x", id: Some("1".to_owned()), attributes: attributes.clone(), self_link: None };
        let text = Document::one(resource).render("/v3/</x").unwrap();
        prop_assert!(!text.windows(2).any(|pair| pair == b"</"));
        let read: Value = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(&read["data"]["attributes"], &attributes);
    }
}
