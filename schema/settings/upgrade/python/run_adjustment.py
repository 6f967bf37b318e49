"""Runs an adjustment script on a configuration: JSON on standard input, JSON on standard output."""

import configparser
import importlib.util
import json
import logging
import sys

answer = sys.stdout
sys.stdout = sys.stderr
logging.basicConfig(
    datefmt="%Y-%m-%d %H:%M:%S",
    format="%(asctime)s.%(msecs)03d - %(name)s - %(levelname)s - %(message)s",
    level=logging.INFO,
)
request = json.load(sys.stdin)
config = configparser.RawConfigParser()
for section, options in request["config"].items():
    config[section] = options
logging.getLogger("adjust").setLevel(request["level"])
spec = importlib.util.spec_from_file_location("adjust", request["script"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.adjust(config, request["mapping"])
json.dump({section: dict(config[section]) for section in config.sections()}, answer)
