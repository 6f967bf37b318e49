//! Replays captured requests to the reference pull agent and compares every answer: status, headers, JSON.

use std::path::Path;
use std::sync::Mutex;

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, CONTENT_TYPE};
use actix_web::{App, test, web};
use keylime_agent::api_version::ApiVersion;
use keylime_agent::configuration::{AgentSettings, Layers};
use keylime_agent::key_derivation::KeyDerivation;
use keylime_agent::keys::PayloadKey;
use keylime_agent::measurement_list::MeasurementList;
use keylime_agent::measurement_logs::MeasurementLogs;
use keylime_agent::payload::worker::PayloadWorker;
use keylime_agent::pull::routes;
use keylime_agent::pull::state::{AgentState, PayloadRule};
use keylime_agent::revocation::actions::ActionRunner;
use keylime_agent::revocation::worker::RevocationWorker;
use keylime_agent::tpm::credential_blob::CredentialBlob;
use keylime_agent::tpm::device_identity::{DeviceIdentity, DeviceIdentityRequest};
use keylime_agent::tpm::{
    AttestationKey, AttestationKeyRequest, Certification, EndorsementKey, EndorsementKeyRequest, KeyAlgorithm, Quote,
    QuoteRequest, SigningAlgorithm, Tpm, TpmError, TpmOwner, pcr,
};
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::pcr_bank::PcrBank;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

/// Quotes whatever is asked for; nothing is signed.
struct PaperTpm;

impl Tpm for PaperTpm {
    fn allocated_banks(&mut self) -> Result<Vec<HashAlgorithm>, TpmError> {
        Ok(vec![HashAlgorithm::Sha256])
    }

    fn endorsement_key(&mut self, _: &EndorsementKeyRequest) -> Result<EndorsementKey, TpmError> {
        Err(TpmError::KeyNotLoaded("endorsement key"))
    }

    fn attestation_key(&mut self, _: &AttestationKeyRequest) -> Result<AttestationKey, TpmError> {
        Err(TpmError::KeyNotLoaded("attestation key"))
    }

    fn activate_credential(&mut self, _: &CredentialBlob) -> Result<Vec<u8>, TpmError> {
        Err(TpmError::KeyNotLoaded("endorsement key"))
    }

    fn release_endorsement_key(&mut self) -> Result<(), TpmError> {
        Ok(())
    }

    fn quote(&mut self, request: &QuoteRequest) -> Result<Quote, TpmError> {
        let indices = pcr::indices_of_mask(request.pcr_mask)?;
        let values = indices.into_iter().map(|index| (index, Digest::filled(0, request.bank.digest_len())));
        Ok(Quote {
            attest: request.qualifying_data.clone(),
            signature: Vec::new(),
            pcrs: PcrBank::from_values(request.bank, values),
        })
    }

    fn extend(&mut self, _: u8, _: HashAlgorithm, _: &Digest) -> Result<(), TpmError> {
        Ok(())
    }

    fn prove_device_identity(&mut self, _: &DeviceIdentityRequest) -> Result<DeviceIdentity, TpmError> {
        Err(TpmError::KeyNotLoaded("device identity key"))
    }

    fn certify_attestation_key(&mut self, _: &[u8]) -> Result<Certification, TpmError> {
        Err(TpmError::KeyNotLoaded("attestation key"))
    }
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The state the captured agent was in: four entries in its list, its payload key, its id.
fn state(directory: &Path) -> AgentState {
    let files = vectors(include_str!("data/agent_files.json"));
    let payload = vectors(include_str!("data/payload.json"));
    let captured = &payload["captured"];
    let list = directory.join("ima");
    let lines = files["ima_log"].as_str().unwrap().lines().take(4);
    std::fs::write(&list, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let mut layers = Layers::default();
    let text = format!("[agent]\nkeylime_dir = \"{}\"\n", directory.display());
    layers.add_text(Path::new("test"), &text).unwrap();
    let settings = AgentSettings::from_layers(&layers).unwrap();
    let revocation_queue = RevocationWorker {
        certificate: directory.join("none"),
        actions: ActionRunner::new(settings.revocation.clone(), directory, directory),
        subscription: None,
    }
    .start();
    let tpm = TpmOwner::start(|| Ok(PaperTpm)).unwrap().handle();
    let payload_queue = PayloadWorker {
        secure: directory.to_owned(),
        settings: settings.payload.clone(),
        revocations: revocation_queue.clone(),
        tpm: tpm.clone(),
        bank: HashAlgorithm::Sha256,
    }
    .start();
    let agent_id = AgentId::parse(captured["agent_id"].as_str().unwrap()).unwrap();
    let key = captured["payload_private_key_pem"].as_str().unwrap();
    let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
    AgentState {
        derivation: Mutex::new(KeyDerivation::new(agent_id.as_str())),
        agent_id,
        api_versions: ApiVersion::PULL.to_vec(),
        tpm,
        ak_handle: 1_078_035_601,
        hash: HashAlgorithm::Sha256,
        encryption: KeyAlgorithm::Rsa2048,
        signing: SigningAlgorithm::RsaSsa,
        payload_key: PayloadKey::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
        logs: MeasurementLogs::new(Some(MeasurementList::open(&list).unwrap()), None),
        payloads: PayloadRule::Drop,
        payload_queue,
        revocation_queue,
    }
}

/// Quotes differ by nature; their presence and form are compared.
fn assert_same_json(got: &Value, expected: &Value, context: &str) {
    let (Some(got), Some(expected)) = (got["results"].as_object(), expected["results"].as_object()) else {
        assert_eq!(got, expected, "{context}");
        return;
    };
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{context}");
    for (member, expected) in expected {
        let got = &got[member];
        if member == "quote" {
            assert!(
                got.as_str().is_some_and(|text| text.starts_with('r') && text.split(':').count() == 3),
                "{context}"
            );
        } else if expected != "<pem>" {
            assert_eq!(got, expected, "{context}: {member}");
        }
    }
}

#[actix_web::test]
async fn answers_are_those_of_the_reference_agent() {
    let directory = tempfile::tempdir().unwrap();
    let state = web::Data::new(state(directory.path()));
    let routes = routes::configure(&ApiVersion::PULL);
    let app = test::init_service(App::new().app_data(state).configure(routes)).await;

    // The captured agent held a bootstrap key already.
    let payload = vectors(include_str!("data/payload.json"));
    for (path, body) in [("ukey", "ukey_request"), ("vkey", "vkey_request")] {
        let request = test::TestRequest::post().uri(&format!("/v2.6/keys/{path}"));
        let request = request.set_json(&payload["captured"][body]).to_request();
        assert_eq!(test::call_service(&app, request).await.status(), 200);
    }

    let cases = vectors(include_str!("data/agent_api.json"));
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 99);
    for case in cases {
        let asked = &case["request"];
        let context = format!("{} {}", asked["method"], asked["path"]);
        let method = Method::from_bytes(asked["method"].as_str().unwrap().as_bytes()).unwrap();
        let mut request = test::TestRequest::with_uri(asked["path"].as_str().unwrap()).method(method);
        if let Some(kind) = asked["headers"]["Content-Type"].as_str() {
            request = request.insert_header((CONTENT_TYPE, kind));
        }
        if let Some(body) = asked["body"].as_str() {
            let body = if body == "<3000000 bytes>" { "x".repeat(3_000_000) } else { body.to_owned() };
            // A real client always tells the length.
            request = request.insert_header(("Content-Length", body.len().to_string())).set_payload(body);
        }
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), case["status"].as_u64().unwrap() as u16, "{context}");
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header(CONTENT_TYPE).as_deref(), case["headers"]["content-type"].as_str(), "{context}");
        assert_eq!(header(ALLOW).as_deref(), case["headers"]["allow"].as_str(), "{context}");
        let body = test::read_body(response).await;
        match case.get("json") {
            Some(expected) => assert_same_json(&serde_json::from_slice(&body).unwrap(), expected, &context),
            None => assert_eq!(body, case["body"].as_str().unwrap(), "{context}"),
        }
    }
}
