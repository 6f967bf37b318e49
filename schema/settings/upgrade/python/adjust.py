"""Brings the values of an unversioned Keylime configuration to the form of format 2.0.

keylime_upgrade_config calls adjust() after it moved the options; what is done here is also built into it.
"""

import ast

FORMAT = "2.0"

LISTS = {
    "agent": ("trusted_client_ca", "revocation_actions"),
    "verifier": ("trusted_server_ca", "severity_labels", "severity_policy", "measured_boot_imports"),
    "revocations": ("enabled_revocation_notifications",),
    "tenant": (
        "trusted_server_ca",
        "accept_tpm_hash_algs",
        "accept_tpm_encryption_algs",
        "accept_tpm_signing_algs",
    ),
    "registrar": ("trusted_client_ca",),
}

AGENT_SWITCHES = (
    "enable_agent_mtls",
    "extract_payload_zip",
    "enable_revocation_notifications",
    "enable_insecure_payload",
    "exponential_backoff",
)

GENERATED = {
    "verifier": (
        "server_cert",
        "server_key",
        "trusted_client_ca",
        "client_cert",
        "client_key",
        "trusted_server_ca",
    ),
    "registrar": ("server_cert", "server_key", "trusted_client_ca"),
}

BOTH_AUTHORITIES = "['/var/lib/keylime/cv_ca/cacert.crt', '/var/lib/keylime/reg_ca/cacert.crt']"


def as_list(text):
    if text == "default":
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if isinstance(value, list):
        return text
    if not isinstance(value, tuple):
        value = [item.strip() for item in text.strip("[]").split(",") if item.strip()]
    return str(list(value))


def adjust(config, mapping):  # pylint: disable=unused-argument
    def moved(section):
        return section in config and config[section].get("version", "").strip('" ') == FORMAT

    def replace(section, option, old, new):
        if config[section].get(option) == old:
            config[section][option] = new

    if moved("verifier"):
        for option in ("client_cert", "trusted_server_ca"):
            replace("verifier", option, "CV", "default")
        replace("verifier", "database_url", "", "sqlite")
    if moved("registrar"):
        replace("registrar", "tls_dir", "CV", "default")
        replace("registrar", "database_url", "", "sqlite")

    for section, options in LISTS.items():
        if moved(section):
            for option in options:
                if option in config[section]:
                    config[section][option] = as_list(config[section][option])

    if moved("agent"):
        for option in AGENT_SWITCHES:
            if option in config["agent"]:
                config["agent"][option] = config["agent"][option].lower()

    for section, options in GENERATED.items():
        if moved(section) and config[section].get("tls_dir") == "generate":
            for option in options:
                config[section][option] = "default"

    if moved("tenant") and all(
        config["tenant"].get(option) == "default" for option in ("tls_dir", "trusted_server_ca")
    ):
        servers = ("verifier", "registrar")
        if all(server in config and config[server].get("tls_dir") == "generate" for server in servers):
            config["tenant"]["trusted_server_ca"] = BOTH_AUTHORITIES
