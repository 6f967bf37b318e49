"""Opens databases with Keylime: runs its migrations, prints what is in them, changes a row of each."""

from keylime.common import migrations

migrations.apply("cloud_verifier")
migrations.apply("registrar")

# pylint: disable=wrong-import-position
from sqlalchemy.orm import Session

from keylime.db.keylime_db import make_engine
from keylime.db.registrar_db import RegistrarMain
from keylime.db.verifier_db import VerfierMain

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

with Session(make_engine("registrar")) as session:
    row = session.get(RegistrarMain, "a")
    print(row.agent_id, row.ek_tpm, row.regcount, bool(row.active))
    row.active = 1
    session.commit()
