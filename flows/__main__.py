"""The command line: ``python -m flows <flow> --config configs/x.yaml --set key.path=value``."""

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from flows import logs, lost, up
from flows.help import FLOWS, SERVICES, description, settings
from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load
from schemas.logs import Logs
from tasks.commands import OPT_OUT, PREFECT_HOME, mlflow_server, prefect_server, without_credentials

PAGES = {"explore": "explore.html", "visualize": "figures/dashboard.html"}
# How a value is called that its own name does not make clear; None: for the registry, not for people.
NAMED: Mapping[tuple[str, str], str | None] = {
    ("train", "name"): "challenger",
    ("train", "number"): "version",
    ("train", "run_id"): "MLflow run",
    ("train", "tags"): None,
    ("promote", "challenger"): "challenger's version",
    ("promote", "champion"): "champion's version before",
    ("promote", "numbers"): "challenger minus champion",
}
SERVICE = {"up": up.up, "start": up.start, "down": up.down, "deploy": up.deploy}
# Quiet and private unless the person has said otherwise; read when Prefect is imported.
ENVIRONMENT = {
    "PREFECT_HOME": str(Path(PREFECT_HOME).resolve()),
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "encore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    **OPT_OUT["mlflow"],
    **OPT_OUT["prefect"],
}


def main(arguments: list[str]) -> int:
    """Run a flow; returns the exit code: 0 done, 2 bad input or setting, 1 unexpected."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for worker in ("APILogWorker", "EventsWorker"):  # Prefect's; they tell of what is still to be sent
        logging.getLogger(worker).setLevel(logging.ERROR)
    telling = Logs()
    try:
        config = load(given.config, given.set)
        telling = config.logs
        logs.set_up(telling)
        if given.flow in SERVICES:
            return SERVICE[given.flow](config)
        if "PREFECT_API_URL" not in os.environ and (running := up.server(config)):
            os.environ["PREFECT_API_URL"] = running
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect makes no parents
        result = _run(given.flow, config)
    except InputError as error:
        logs.refused(telling, f"error: {error}")
        _forget(error)
        return 2
    except KeyboardInterrupt:
        logs.refused(
            telling, "interrupted; what is finished is kept, the same command goes on from there"
        )
        return 1
    except Exception as error:
        if told := _unanswered(error):
            logs.refused(telling, f"error: {told}")
            return 2
        logs.broken(telling, error)
        _forget(error)
        return 1
    _show(given.flow, config, result)
    return 0


def _forget(error: BaseException | None) -> None:
    """Let go of what an error's frames hold: of a connection left at the end DuckDB tells at length."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _unanswered(error: Exception) -> InputError | None:
    """The person's to mend: the Prefect server that they have named cannot be reached."""
    url = os.environ.get("PREFECT_API_URL")
    if not url or (type(error).__module__, type(error).__name__[:7]) != ("httpx", "Connect"):
        return None
    what = "start it, or unset PREFECT_API_URL: a run then starts one of its own"
    return InputError("the Prefect server does not answer", file=url, do=what)


def _run(name: str, config: Config) -> Any:
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    return flow.with_options(on_running=[lost.signed])(config)


def _show(name: str, config: Config, result: Any) -> None:
    if name != "retrain" or config.labels.target == "played":
        print("\n".join(_lines(name, result)))
        return
    import polars as pl

    print(f"\n{result['verdict']}\n")
    print(_table(pl.DataFrame(result["table"], schema=result["columns"], orient="row")))
    print(f"\nPromotion: {result['decision']}")
    print(f"Report:    {result['folder']}/RESULTS.md and {result['folder']}/figures/dashboard.html")
    uri, home = config.tracking.uri, os.environ["PREFECT_HOME"]
    server = f"{mlflow_server(uri)}  # then http://127.0.0.1:5000"
    print(f"MLflow:    {without_credentials(uri) if uri.startswith('http') else server}")
    kept = PREFECT_HOME if home == ENVIRONMENT["PREFECT_HOME"] else home
    print(f"Prefect:   {prefect_server(kept)}  # then http://127.0.0.1:4200")
    print("           both in a shell with the environment active: . .venv/bin/activate")


def _table(frame: Any) -> str:
    """A frame for a terminal."""
    import polars as pl

    with pl.Config(
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_width_chars=160,
        tbl_rows=60,
        fmt_str_lengths=60,
    ):
        return str(frame)


def _lines(flow: str, result: Any) -> Iterator[str]:
    """What a flow returned, a line each: plain values as they are, nested ones by their path."""
    from tasks.report.text import flat

    if flow in PAGES:
        result = {"report": f"{result}/{PAGES[flow]}"}
    if is_dataclass(result) and not isinstance(result, type):
        result = asdict(result)
    for name, value in result.items():
        if name == "table":
            yield f"\n{_table(value)}\n"
            continue
        shown = NAMED.get((flow, name), name)
        if shown is None:
            continue
        if isinstance(value, Mapping | list | tuple):
            yield from (": ".join(each) for each in flat({shown: value}))
        else:
            yield f"{shown}: {'none' if value is None else value}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows", description="Encore: listening logs in, honest recommendations out."
    )
    commands = parser.add_subparsers(dest="flow", required=True, metavar="flow")
    for name, told in (FLOWS | SERVICES).items():
        command = commands.add_parser(
            name,
            help=told,
            description=description(name),
            epilog=settings(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="YAML of settings, as in configs/; without it the defaults below, a simulated world",
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a setting, e.g. --set store.keep=2; may be given several times",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
