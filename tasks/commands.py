"""Commands that Encore tells a person to run: they send no telemetry, as Encore itself does not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

# What keeps each tool from reporting its use to its makers; Encore runs with all of it.
OPT_OUT: Mapping[str, Mapping[str, str]] = {
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "prefect": {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "DO_NOT_TRACK": "true",
        # Prefect's newer pages ask an address outside all the same; the older ones ask nobody
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
    },
}
PREFECT_HOME = "data/prefect"


def mlflow_server(uri: str) -> str:
    """Opens a tracking store in the browser, at http://127.0.0.1:5000."""
    return _quiet("mlflow", "server", "--backend-store-uri", without_credentials(uri))


def mlflow_upgrade(uri: str) -> str:
    """Brings a tracking store to the installed version of MLflow."""
    return _quiet("mlflow", "db", "upgrade", without_credentials(uri))


def prefect_server(home: str = PREFECT_HOME) -> str:
    """Opens the runs in the browser, at http://127.0.0.1:4200; ``home`` is where they are kept."""
    return f"PREFECT_HOME={shlex.quote(home)} {_quiet('prefect', 'server', 'start')}"


def without_credentials(uri: str) -> str:
    """An address to show: user and password, if it has them, as ``***``."""
    scheme, mark, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" not in authority:
        return uri
    return f"{scheme}{mark}***@{authority.rsplit('@', 1)[1]}{slash}{path}"


def _quiet(tool: str, *words: str) -> str:
    settings = [f"{name}={value}" for name, value in OPT_OUT[tool].items()]
    return " ".join([*settings, shlex.join([tool, *words])])
