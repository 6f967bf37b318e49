"""Runs Keylime's policy tools, each in a child that inherits the loaded modules, and prints what came of each.

Reads a JSON list of {"tool": name, "argv": [...], "cwd": path} from standard input and writes a JSON list of
{"exit": code, "stdout": text, "stderr": text}.
"""

import importlib
import json
import os
import sys
import tempfile
import traceback

MODULES = {
    "keylime-policy": "keylime.cmd.keylime_policy",
    "keylime_create_policy": "keylime.cmd.create_policy",
    "keylime_convert_runtime_policy": "keylime.cmd.convert_runtime_policy",
    "keylime_sign_runtime_policy": "keylime.cmd.sign_runtime_policy",
}


def child(run, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.chdir(run["cwd"])
    sys.argv = [run["tool"], *run["argv"]]
    code = 0
    try:
        modules[run["tool"]].main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


modules = {tool: importlib.import_module(name) for tool, name in MODULES.items()}
results = []
for run in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            child(run, out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
        results.append({"exit": code, "stdout": texts[0], "stderr": texts[1]})
json.dump(results, sys.stdout)
