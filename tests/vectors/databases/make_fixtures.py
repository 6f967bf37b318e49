"""Writes the two databases of this directory with Keylime itself; see README.md."""

import os
import sys

# Keylime keeps one engine per process, so each service's file takes a run of its own.
directory, service = sys.argv[1:3]
FILES = {"verifier": "keylime_7_14_3_cv_data.sqlite", "registrar": "keylime_7_14_3_reg_data.sqlite"}
path = os.path.join(os.path.abspath(directory), FILES[service])
if os.path.exists(path):
    os.remove(path)
os.environ[f"KEYLIME_{service.upper()}_DATABASE_URL"] = f"sqlite:///{path}"

# pylint: disable=wrong-import-position
from keylime.common import migrations

migrations.apply({"verifier": "cloud_verifier"}.get(service, service))

from sqlalchemy.orm import Session

from keylime.common import states
from keylime.db.keylime_db import make_engine
from keylime.db.registrar_db import RegistrarMain
from keylime.db.verifier_db import VerfierMain, VerifierAllowlist, VerifierMbpolicy
from keylime.ima import ima
from keylime.models import db_manager

ALGORITHMS = {
    "accept_tpm_hash_algs": ["sha512", "sha384", "sha256"],
    "accept_tpm_encryption_algs": ["ecc", "rsa"],
    "accept_tpm_signing_algs": ["ecschnorr", "rsassa"],
}


def agent(agent_id, runtime, boot, **changes):
    """An agent as a POST of the tenant leaves it."""
    data = {
        "v": "3pRDpQzYqVwQ3+cwXFVBp5xZ1fn5lk1F1RkNcaNGZ6k=",
        "ip": "127.0.0.1",
        "port": 9002,
        "operational_state": states.START,
        "public_key": "",
        "tpm_policy": '{"mask": "0x400"}',
        "meta_data": "{}",
        "ima_sign_verification_keys": "",
        "revocation_key": "",
        **ALGORITHMS,
        "supported_version": "2.5",
        "ak_tpm": "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQA=",
        "mtls_cert": None,
        "hash_alg": "",
        "enc_alg": "",
        "sign_alg": "",
        "agent_id": agent_id,
        "boottime": 0,
        "ima_pcrs": [],
        "pcr10": None,
        "next_ima_ml_entry": 0,
        "learned_ima_keyrings": {},
        "verifier_id": "default",
        "verifier_ip": "127.0.0.1",
        "verifier_port": "8881",
        "attestation_count": 0,
        "last_received_quote": 0,
        "last_successful_attestation": 0,
        "accept_attestations": True,
    }
    data.update(changes)
    return VerfierMain(**data, ima_policy=runtime, mb_policy=boot)


def verifier():
    """Five agents that share and own policies, in the states that a running verifier leaves."""
    shared = VerifierAllowlist(**ima.runtime_policy_db_contents("shared", RUNTIME_POLICY))
    shared_boot = VerifierMbpolicy(name="shared-boot", mb_policy='{"has_secureboot": true, "name": "Prüfung"}')
    empty = ima.runtime_policy_db_contents("fresh", EMPTY_POLICY)
    with Session(make_engine("cloud_verifier")) as session:
        attested = agent(
            "attested",
            shared,
            shared_boot,
            operational_state=states.GET_QUOTE,
            public_key="-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
            hash_alg="sha256",
            enc_alg="rsa",
            sign_alg="rsassa",
            boottime=1763890000,
            ima_pcrs=[10],
            pcr10=bytes(range(32)),
            next_ima_ml_entry=1234,
            learned_ima_keyrings={".ima": ["a" * 64]},
            tpm_clockinfo={"clock": 4711, "resetcount": 3, "restartcount": 0, "safe": 1},
            attestation_count=77,
            last_received_quote=1763891111,
            last_successful_attestation=1763891110,
        )
        failed = agent(
            "failed",
            shared,
            VerifierMbpolicy(name="failed", mb_policy=""),
            operational_state=states.INVALID_QUOTE,
            severity_level=6,
            last_event_id="ima.validation.ima-ng.not_in_allowlist",
            tpm_policy='{"mask": "0x408400", "22": ["0000000000000000000000000000000000000000"], "note": "größer"}',
        )
        fresh = agent("fresh", VerifierAllowlist(**empty), VerifierMbpolicy(name="fresh", mb_policy=None))
        stopped = agent("stopped", shared, shared_boot, operational_state=states.TENANT_FAILED, verifier_id="other")
        push = agent(
            "push", shared, shared_boot, ip=None, port=None, operational_state=None, v=None, supported_version=None
        )
        session.add_all([attested, failed, fresh, stopped, push])
        session.commit()
    push_attestation()


def push_attestation():
    """One attestation and one session of the push agent, by the newer models."""
    db_manager.make_engine("cloud_verifier")
    from keylime.models.base.types import Timestamp  # pylint: disable=import-outside-toplevel
    from keylime.models.verifier import Attestation, AuthSession, VerifierAgent  # pylint: disable=import-outside-toplevel

    now = Timestamp.now()
    attestation = Attestation.create(VerifierAgent.get("push"))
    attestation.receive_capabilities(CAPABILITIES)
    attestation.commit_changes()
    session = AuthSession.empty()
    session.session_id = "0b7b4f7e-6d0e-4c3b-8f0c-2f4f5d3e2a10"
    session.token_hash, session.token_salt = "ab" * 32, "cd" * 16
    session.active, session.agent_id = True, "push"
    session.nonce, session.ak_attest, session.ak_sign = bytes(16), b"attest", b"sign"
    session.nonce_created_at = session.nonce_expires_at = session.pop_received_at = session.token_expires_at = now
    session.commit_changes()


def registrar():
    """One registration by the older classes and one by the newer model."""
    with Session(make_engine("registrar")) as session:
        session.add(
            RegistrarMain(
                agent_id="older",
                key="3pRDpQzYqVwQ3+cwXFVBp5xZ1fn5lk1F1RkNcaNGZ6k=",
                aik_tpm="ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQA=",
                ek_tpm="AToAAQALAAMAsgAgg3GXZ0SEs/gaBgBDAEMIAAAA",
                ekcert="MIIB",
                mtls_cert="disabled",
                virtual=0,
                ip="10.0.0.7",
                port=9002,
                active=1,
                provider_keys={},
                regcount=3,
            )
        )
        session.commit()
    db_manager.make_engine("registrar")
    from keylime.models.registrar import RegistrarAgent  # pylint: disable=import-outside-toplevel

    newer = RegistrarAgent.empty()
    newer.agent_id = "newer"
    newer.ek_tpm, newer.aik_tpm = b"\x00\x04EKEK", b"\x00\x04AKAK"
    newer.key, newer.active, newer.regcount = "key", False, 1
    newer.ip, newer.port = "10.0.0.8", 9003
    newer.commit_changes()


EMPTY_POLICY = (
    '{"meta": {"version": 1, "generator": 1}, "release": 0, "digests": {}, "excludes": [], "keyrings": {}, '
    '"ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {}, "verification-keys": ""}'
)
RUNTIME_POLICY = EMPTY_POLICY.replace('"generator": 1', '"generator": 3').replace(
    '"digests": {}', '"digests": {"/usr/bin/ls": ["%s"]}' % ("ab" * 32)
)
KEY = {"key_class": "asymmetric", "key_algorithm": "rsa", "key_size": 2048, "server_identifier": "ak"}
CAPABILITIES = {
    "evidence_supported": [
        {
            "evidence_class": "certification",
            "evidence_type": "tpm_quote",
            "capabilities": {
                "component_version": "2.0",
                "hash_algorithms": ["sha256"],
                "signature_schemes": ["rsassa"],
                "available_subjects": {"sha256": list(range(24))},
                "certification_keys": [KEY],
            },
        }
    ],
    "system_info": {"boot_time": "2026-11-23T08:00:00Z"},
}

if __name__ == "__main__":
    {"verifier": verifier, "registrar": registrar}[service]()
