"""The command line: ``python -m flows <flow> --config configs/x.yaml --set key.path=value``."""

import argparse
import importlib
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load

FLOWS = {
    "retrain": "ingest, train, evaluate, promote and report: the main job",
    "ingest": "raw exports to canonical, validated tables",
    "train": "fit and evaluate every ranker, register the challenger",
    "evaluate": "a registered model on chosen data",
    "promote": "decide on the challenger, or set a version by hand",
    "explore": "the report of a data set, in place of notebooks",
    "visualize": "figures again, from a scored_samples.csv",
    "gc": "bound the disk that the store uses",
}
# Quiet and private unless the person has said otherwise; read when Prefect is imported.
ENVIRONMENT = {
    "PREFECT_HOME": str(Path("data/prefect").resolve()),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "encore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main(arguments: list[str]) -> int:
    """Run a flow; returns the exit code: 0 done, 2 bad input or setting, 1 unexpected."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("encore").setLevel(logging.INFO)
    try:
        config = load(given.config, given.set)
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect makes no parents
        result = _run(given.flow, config)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr
        )
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    _show(given.flow, config, result)
    return 0


def _run(name: str, config: Config) -> Any:
    return getattr(importlib.import_module(f"flows.{name}"), name)(config)


def _show(name: str, config: Config, result: Any) -> None:
    if name != "retrain":
        print(
            result if not isinstance(result, dict) else "\n".join(f"{k}: {v}" for k, v in result.items())
        )
        return
    import polars as pl

    print(f"\n{result['verdict']}\n")
    with pl.Config(
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_width_chars=160,
        fmt_str_lengths=60,
    ):
        print(pl.DataFrame(result["table"], schema=result["columns"], orient="row"))
    print(f"\nPromotion: {result['decision']}")
    print(f"Report:    {result['folder']}/RESULTS.md and {result['folder']}/figures/dashboard.html")
    print(
        f"MLflow:    .venv/bin/mlflow server --backend-store-uri {config.tracking.uri}, then http://127.0.0.1:5000"
    )
    print(
        "Prefect:   PREFECT_HOME=data/prefect .venv/bin/prefect server start, then http://127.0.0.1:4200"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows", description="Encore: listening logs in, honest recommendations out."
    )
    commands = parser.add_subparsers(dest="flow", required=True, metavar="flow")
    for name, told in FLOWS.items():
        command = commands.add_parser(
            name,
            help=told,
            description=told,
            epilog=_settings(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--config", type=Path, help="YAML of settings; see configs/")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting"
        )
    return parser


def _settings() -> str:
    """Every setting with its default and meaning."""
    lines = ["settings:"]

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                walk(inner, f"{prefix}{name}.")
            else:
                default = field.get_default(call_default_factory=True)
                lines.append(f"  {prefix}{name} = {_plain(default)}\n      {field.description}")

    walk(Config, "")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
