"""Times Keylime 7.14.3 on the input of a bench: a folder in, one JSON object of seconds (and bytes) out."""

import base64
import json
import logging
import pathlib
import sys
import time
import tracemalloc

logging.disable(logging.CRITICAL)

from keylime.agentstates import AgentAttestState
from keylime.common.algorithms import Hash
from keylime.ima import ima
from keylime.mba import mba
from keylime.mba.elchecking import example, policies  # noqa: F401, the first registers its policy


def best(work, rounds):
    """The shortest of several rounds, so that a busy machine does not count against it."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def appraisal(folder, policy, name, rounds):
    lines = (folder / f"{name}.txt").read_text().split("\n")
    quoted = (folder / f"{name}.pcr").read_text()

    def work():
        state = AgentAttestState("a")
        keyrings = state.get_ima_keyrings()
        _, failure = ima.process_measurement_list(
            state, lines, policy, pcrval=quoted, ima_keyrings=keyrings, hash_alg=Hash("sha256")
        )
        assert not failure, [event.event_id for event in failure.events]

    return best(work, rounds)


def runtime_policy(folder):
    text = (folder / "policy.json").read_text()
    policy = ima.deserialize_runtime_policy(text)
    times = {name: appraisal(folder, policy, name, rounds) for name, rounds in (("full", 2), ("incremental", 20))}
    times["compile"] = best(lambda: ima.deserialize_runtime_policy(text), 3)
    tracemalloc.start()
    policy = ima.deserialize_runtime_policy(text)
    times["memory"] = tracemalloc.get_traced_memory()[0]
    return times


def event_log(folder):
    mba.load_imports(skip_custom_policies=True)
    log = base64.b64encode((folder / "boot.bin").read_bytes()).decode()
    reference = json.loads((folder / "refstate.json").read_text())

    def work():
        _, _, data, failure = mba.bootlog_parse(log, "sha256")
        assert not failure, [event.event_id for event in failure.events]
        reason = policies.evaluate("example", reference, data)
        assert not reason, reason

    return {"event_log": best(work, 3)}


folder = pathlib.Path(sys.argv[1])
print(json.dumps((runtime_policy if (folder / "policy.json").exists() else event_log)(folder)))
