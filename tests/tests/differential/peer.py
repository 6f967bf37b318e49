"""Answers questions about Keylime 7.14.3: one JSON document a line in, one a line out."""

import ast
import configparser
import copy
import io
import json
import logging
import re
import sys

logging.disable(logging.CRITICAL)

from keylime import cloud_verifier_common
from keylime.agentstates import AgentAttestState
from keylime.common.algorithms import Hash
from keylime.dsse import dsse
from keylime.ima import file_signatures, ima, ima_dm
from keylime.mba import mba
from keylime.mba.elparsing import tpm2_tools_elparser

mba.load_imports(skip_custom_policies=True)


def events(failure):
    return [event.event_id for event in failure.events]


def register(state):
    value = state.get_ima_pcrs().get(10)
    return value.hex() if value and any(value) else None


def ima_lists(question):
    """Consecutive lists of one agent."""
    state = AgentAttestState("a")
    policy = json.loads(question["policy"])
    answers = []
    for step in question["steps"]:
        keyrings = state.get_ima_keyrings()
        try:
            running, failure = ima.process_measurement_list(
                state,
                step["list"].split("\n"),
                copy.deepcopy(policy),
                pcrval=step["quoted"],
                ima_keyrings=keyrings,
                hash_alg=Hash(question["bank"]),
            )
        except Exception:
            return answers + [{"exception": True}]
        answers.append(
            {
                "failures": events(failure),
                "running": running.hex() if isinstance(running, bytes) else running,
                "next": state.get_next_ima_ml_entry(),
                "register": register(state),
                "progress": state.quote_progress,
            }
        )
    return answers


def policy_upload(question):
    text = question["text"]
    try:
        ima.verify_runtime_policy(text.encode(), None, verify_sig=False)
        ima.validate_runtime_policy(ima.deserialize_runtime_policy(text))
    except ima.ImaValidationError as error:
        return {"refused": error.message}
    except Exception:
        return {"exception": True}
    return {"accepted": True}


def pattern(question):
    try:
        compiled = re.compile(question["pattern"])
    except re.error:
        return {"compiles": False}
    except (OverflowError, RecursionError):
        return {"skip": True}
    texts = question["texts"]
    return {
        "compiles": True,
        "prefix": [compiled.match(text) is not None for text in texts],
        "full": [compiled.fullmatch(text) is not None for text in texts],
    }


def evidence(question):
    data = question["data"]
    try:
        policy = ima.deserialize_runtime_policy(data.get("runtime_policy", ""))
    except Exception:
        return {"refused": True}
    try:
        failure = cloud_verifier_common.process_verify_attestation(
            data["tpm_ek"],
            data["tpm_ak"],
            data["quote"],
            data["nonce"],
            data["hash_alg"],
            data.get("tpm_policy", ""),
            policy,
            "",
            data.get("ima_measurement_list", ""),
            "",
        )
    except Exception:
        return {"refused": True}
    return {"failures": events(failure)}


def boot_log(question):
    """What a boot log holds; registers as text, because JSON's numbers are too small for them."""
    try:
        failure, log = tpm2_tools_elparser.parse_binary_bootlog(bytes.fromhex(question["log"]))
        if failure or not isinstance(log["pcrs"], dict):
            return {"refused": True, "reason": events(failure)}
        length = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "sm3_256": 32}
        pcrs = {
            bank: {pcr: f"{value:0{2 * length[bank]}x}" for pcr, value in values.items()}
            for bank, values in log["pcrs"].items()
        }
        answer = {"events": log["events"], "pcrs": pcrs, "boot_aggregates": log["boot_aggregates"]}
        json.dumps(answer)
        return answer
    except Exception as error:
        return {"refused": True, "reason": repr(error)}


def device_mapper(question):
    try:
        ima_dm.parse(question["text"], question["event"])
        return {"parsed": True}
    except Exception:
        return {"refused": True}


def decoded(question):
    try:
        return {"bytes": dsse.b64dec(question["text"]).hex()}
    except Exception:
        return {"refused": True}


def keyring(question):
    try:
        ring = file_signatures.ImaKeyring.from_string(question["text"])
    except Exception:
        return {"exception": True}
    return {"ids": sorted(ring.ringv2.keys()) if ring else None}


def ini(question):
    parser = configparser.RawConfigParser()
    try:
        parser.read_file(io.StringIO(question["text"]))
    except Exception:
        return {"refused": True}
    return {"sections": {s: dict(parser.items(s)) for s in parser.sections()}}


def literal(question):
    try:
        value = ast.literal_eval(question["text"])
        return {"value": json.loads(json.dumps(value)), "kind": type(value).__name__}
    except Exception:
        return {"refused": True}


QUESTIONS = {
    f.__name__: f
    for f in (ima_lists, policy_upload, pattern, evidence, boot_log, device_mapper, decoded, keyring, ini, literal)
}

for line in sys.stdin:
    asked = json.loads(line)
    # Whatever a library prints must not be taken for an answer.
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        answer = QUESTIONS[asked["ask"]](asked)
    finally:
        sys.stdout = out
    print(json.dumps(answer), flush=True)
