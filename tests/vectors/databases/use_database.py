"""Opens databases with Keylime: runs its migrations, prints what is in them, changes a row of each."""

from keylime.common import migrations

migrations.apply("cloud_verifier")
migrations.apply("registrar")

# pylint: disable=wrong-import-position
from sqlalchemy.orm import Session

from keylime.db.keylime_db import make_engine
from keylime.db.registrar_db import RegistrarMain
from keylime.db.verifier_db import VerfierMain
from keylime.models.base.db import db_manager
from keylime.models.verifier import Attestation, AuthSession

with Session(make_engine("cloud_verifier")) as session:
    agent = session.get(VerfierMain, "prüfling")
    print(agent.agent_id, agent.operational_state, agent.tpm_policy, agent.accept_tpm_hash_algs, agent.attestation_count)
    print(
        agent.learned_ima_keyrings,
        agent.ima_pcrs,
        len(agent.pcr10),
        agent.tpm_clockinfo["clock"],
        agent.ima_policy.name,
        agent.mb_policy.mb_policy,
    )
    agent.operational_state = 9
    agent.attestation_count += 1
    session.delete(session.get(VerfierMain, "other"))
    session.commit()

db_manager.make_engine("cloud_verifier")
latest = Attestation.get_latest("prüfling")
boot_time = latest.system_info.boot_time.isoformat()
print("latest", latest.index, latest.stage, latest.evaluation, latest.failure_reason, boot_time, len(latest.evidence))
for item in latest.evidence:
    if item.evidence_type == "tpm_quote":
        print(
            item.evidence_type,
            item.chosen_parameters.signature_scheme,
            sorted(item.capabilities.available_subjects),
            len(item.chosen_parameters.challenge),
            len(item.data.message),
            len(item.data.signature),
            item.chosen_parameters.selected_subjects["sha1"],
        )
    if item.evidence_type == "ima_log":
        print(
            item.evidence_type,
            item.capabilities.entry_count,
            item.capabilities.supports_partial_access,
            item.capabilities.formats,
            item.chosen_parameters.starting_offset,
            item.data.entry_count,
            item.data.entries.split("/usr/bin/")[1].split(" ")[0],
            item.results.certified_entry_count if item.results else None,
        )
rendered = latest.render_state()
assert rendered["evidence"][0]["chosen_parameters"]["certification_key"]["key_algorithm"] == "ecc", rendered
failed = latest.previous_attestation
print("failed", failed.index, failed.stage, failed.evaluation, failed.failure_reason)
passed = latest.previous_passed_attestation
print("passed", passed.index, "goes on at", passed.evidence[2].next_starting_offset)
latest.evaluation = "pass"
latest.refresh_metadata()
latest.commit_changes()
proven = AuthSession.get("07070707-0707-4707-8707-070707070707")
expires = proven.token_expires_at.isoformat()
print("session", proven.agent_id, proven.active, expires, len(proven.token_hash), repr(proven.token_salt))

with Session(make_engine("registrar")) as session:
    row = session.get(RegistrarMain, "a")
    print(row.agent_id, row.ek_tpm, row.regcount, bool(row.active))
    row.active = 1
    session.commit()
