#!/usr/bin/python3
"""Runs a revocation action that is a Python module: shim.py NAME NOTICE_FILE.

The module is found through PYTHONPATH; its coroutine (or function) `execute` gets the notice as a dictionary. Where Keylime's
Python package is not installed, the two of its modules that actions use are provided here:

keylime.ca_util.load_cert_by_path(path)   a certificate; with `cryptography` all of it, without its serial number
keylime.secure_mount.mount()              the agent's secure directory
"""

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
import types

PEM_BEGIN = "-----BEGIN CERTIFICATE-----"
PEM_END = "-----END CERTIFICATE-----"


class Certificate:
    """What can be read of a certificate without further packages."""

    def __init__(self, der):
        # Certificate and TBSCertificate are sequences; the version is an optional element before the serial number.
        body = element(element(der)[1])[1]
        tag, value, rest = element(body)
        if tag == 0xA0:
            tag, value, rest = element(rest)
        if tag != 0x02:
            raise ValueError("no serial number in the certificate")
        self.serial_number = int.from_bytes(value, "big", signed=True)


def element(der):
    """Tag, contents and what follows of the first DER element."""
    if len(der) < 2:
        raise ValueError("the certificate ends too early")
    tag, length, start = der[0], der[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("the certificate has an element of an impossible length")
        length, start = int.from_bytes(der[2 : 2 + count], "big"), 2 + count
    if len(der) < start + length:
        raise ValueError("the certificate ends too early")
    return tag, der[start : start + length], der[start + length :]


def load_cert_by_path(path):
    """The first certificate of a PEM file."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        from cryptography import x509
    except ImportError:
        import base64

        text = content.decode("ascii")
        start = text.index(PEM_BEGIN) + len(PEM_BEGIN)
        return Certificate(base64.b64decode(text[start : text.index(PEM_END, start)]))
    return x509.load_pem_x509_certificate(content)


def mount():
    """The secure directory; the agent has mounted it."""
    return os.path.join(os.environ.get("KEYLIME_DIR") or "/var/lib/keylime", "secure")


def provide_keylime():
    """Makes the two modules importable unless Keylime itself is installed."""
    try:
        importlib.import_module("keylime.ca_util")
        importlib.import_module("keylime.secure_mount")
        return
    except Exception:  # pylint: disable=broad-except
        # A Keylime that is installed but cannot be used here, for instance without its configuration, is none.
        for name in [name for name in sys.modules if name == "keylime" or name.startswith("keylime.")]:
            del sys.modules[name]
    package = types.ModuleType("keylime")
    package.__path__ = []
    sys.modules["keylime"] = package
    for name, functions in (("ca_util", [load_cert_by_path]), ("secure_mount", [mount])):
        module = types.ModuleType(f"keylime.{name}")
        for function in functions:
            setattr(module, function.__name__, function)
        setattr(package, name, module)
        sys.modules[f"keylime.{name}"] = module


def main(arguments):
    if len(arguments) != 2:
        print("usage: shim.py NAME NOTICE_FILE", file=sys.stderr)
        return 2
    name, path = arguments
    with open(path, encoding="utf-8") as file:
        notice = json.load(file)
    provide_keylime()
    try:
        result = importlib.import_module(name).execute(notice)
        if inspect.isawaitable(result):

            async def finish():
                return await result

            asyncio.run(finish())
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
