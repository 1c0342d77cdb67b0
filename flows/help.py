"""What ``--help`` says: of each command, what it does, and of each setting, what it is and may be."""

import functools
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from schemas.config import Config
from schemas.ranges import allowed

FLOWS = {
    "retrain": "ingest, train, evaluate, promote and report: the main job",
    "ingest": "raw exports to canonical, validated tables",
    "train": "fit and evaluate every ranker, register the challenger",
    "evaluate": "a registered model on chosen data",
    "monitor": "the newest plays against what the champion was trained on: does retraining pay?",
    "tune": "search settings of LightGBM or ALS, the best as a YAML to use",
    "promote": "decide on the challenger, or set a version by hand",
    "recommend": "lists for chosen users, each track with a reason",
    "package": "the recommender as one registered model, to be served",
    "backtest": "the two stages, retrieval and ranking, judged over rolling cutoffs",
    "similar": "the tracks that go with one",
    "explore": "the report of a data set, in place of notebooks",
    "visualize": "figures again, from a scored_samples.csv",
    "gc": "bound the disk that the store uses",
    "forget": "remove a listener from everything that was made, for good",
}
# What is not a flow: these look after the place where flows run.
SERVICES = {
    "up": "start Prefect, MLflow and a worker, and stay until Ctrl-C",
    "start": "the same, in the background",
    "down": "stop them",
    "deploy": "register deployments, schedules and automations with Prefect",
}
COMMANDS = FLOWS | SERVICES
MORE = {
    "retrain": "Writes the report into output.dir and registers the model.",
    "ingest": "Says what was read and refused; the tables stay in the store.",
    "train": "Ends with the challenger in MLflow's registry: no promotion, no report.",
    "evaluate": (
        "Scores the plays that the model was not fitted on and writes EVALUATION.md, evaluation.json, "
        "scored_samples.csv, figures and a dashboard into output.dir; where another command's report "
        "lies there, into the folder evaluate-v<version> in it. The model is that of the data set and "
        "target in the settings."
    ),
    "monitor": (
        "Compares volume, freshness, missing values, features and probabilities, and on labels that "
        "matured since training how well the model still does; with labels.target=played, how good "
        "lists are in windows that have passed since. Writes MONITOR.md, monitor.html and monitor.json "
        "into output.dir; where another command's report lies there, into the folder monitor in it."
    ),
    "tune": (
        "Tries tune.trials settings of LightGBM, or of ALS with labels.target=played, on windows before "
        "the holdout, confirms the best on validation, and writes tuned.yaml, to be used with --config, "
        "and TUNING.md into output.dir, beside whatever else lies there. After a kill the same command "
        "goes on."
    ),
    "promote": (
        "Without promotion.version: trains, as far as that is not done, and makes the challenger "
        "champion if it wins. With it: makes that version of the model (of the data set and target in "
        "the settings) champion, without a comparison, for example to go back."
    ),
    "recommend": (
        "Fits retrievers and rankers on windows of the past, judges them on the newest one, fits again "
        "on all of them, and writes recommendations.parquet, .csv and .json (where they come from) into "
        "output.dir, and playlists for the first recommend.playlists listeners. With a catalogue.path, "
        "tracks that nobody has played yet are recommended too."
    ),
    "package": (
        "Does what recommend does up to the champion, and registers candidates, ranker and the list for "
        "strangers as one model, encore-<dataset>-recommender, for `mlflow models serve`. "
        "It holds ids of users and what they play: mind who can read the tracking store."
    ),
    "backtest": (
        "Writes BACKTEST.md, backtest.json, lists_comparison.csv and recall.csv into output.dir; where "
        "another command's report lies there, into the folder backtest in it."
    ),
    "similar": "Prints the tracks nearest to similar.track, by the sessions or listeners they share.",
    "explore": (
        "Writes explore.html, EXPLORE.md and figures into output.dir, beside whatever else lies there."
    ),
    "visualize": (
        "Writes figures and a dashboard into output.dir; where another command's report lies there, "
        "into the folder visualize in it. Needs no data and no model."
    ),
    "gc": (
        "Removes all but the newest store.keep results of each step, and what killed runs left. What is "
        "removed is computed again when it is next needed; models and reports are not touched."
    ),
    "forget": (
        "Leaves a tombstone in store.path (a salted hash, no id), by which every later ingest leaves "
        "them out; takes them out of output.dir, where reports made with them go as a whole; "
        "deletes served recommenders that hold them, and all computed results in the store. "
        "Lists the registered models that were trained with them: retrain to have one without. "
        "Raw files are not touched: they still hold the listener. Doing it again cleans what is left, "
        "for example in the output.dir of another configuration."
    ),
    "up": (
        "Registers the deployments, waits until all answers, and prints where Prefect's and MLflow's "
        "pages are. The groups store, tracking and logs hold for all runs that are started from there. "
        "MLflow's server keeps its runs in tracking.uri."
    ),
    "start": "Returns when all answers; `down` with the same services.logs stops it.",
    "down": "Also stops what one that was killed has left.",
    "deploy": (
        "Applies prefect.yaml to the Prefect server that `up` runs, or that PREFECT_API_URL names. "
        "Applying again changes nothing."
    ),
}
# What a person is likely to set, first in the list.
MOSTLY = {
    "retrain": ("source.path", "source.timezone", "labels.target", "output.dir"),
    "ingest": ("source.kind", "source.path", "source.max_refused_share"),
    "train": ("source.path", "labels.target", "split.holdout", "models.rankers"),
    "evaluate": ("evaluation.model", "dataset", "labels.target", "source.path", "output.dir"),
    "monitor": ("monitor.days", "monitor.growth", "evaluation.model", "source.path", "output.dir"),
    "tune": ("tune.trials", "tune.parallel", "labels.target", "source.path", "output.dir"),
    "promote": ("promotion.version", "promotion.margin", "dataset", "labels.target", "source.path"),
    "recommend": (
        "recommend.users",
        "recommend.k",
        "recommend.heard",
        "catalogue.path",
        "source.path",
        "output.dir",
    ),
    "package": ("source.path", "dataset", "retrieval.candidates", "tracking.uri"),
    "backtest": ("backtest.cutoffs", "lists.horizon_days", "lists.k", "source.path", "output.dir"),
    "similar": ("similar.track", "similar.k", "similar.retriever", "source.path"),
    "explore": ("source.path", "source.timezone", "output.dir"),
    "visualize": ("visualize.scored_samples", "source.timezone", "output.dir"),
    "gc": ("store.path", "store.keep"),
    "forget": ("forget.user", "store.path", "output.dir", "tracking.uri"),
    "up": ("services.prefect_port", "services.mlflow_port", "tracking.uri", "services.failures"),
    "start": ("services.prefect_port", "services.mlflow_port", "tracking.uri", "services.failures"),
    "down": ("services.logs",),
    "deploy": ("services.prefect_port", "services.work_pool", "services.failures"),
}


def description(flow: str) -> str:
    """What a command does, in lines for a terminal."""
    told = f"{COMMANDS[flow]}. {MORE[flow]}"
    return textwrap.fill(told[0].upper() + told[1:], 100)


def settings(flow: str) -> str:
    """Every setting with its default, its meaning and what it may be; the likely ones first."""
    told = dict(_told())
    first = [told.pop(name) for name in MOSTLY[flow]]
    heading = "all other settings, the same for every command:"
    return "\n".join([f"settings that {flow} is mostly given:", *first, "", heading, *told.values()])


@functools.cache  # argparse asks for every command's
def _told() -> tuple[tuple[str, str], ...]:
    return tuple(_settings(Config, ""))


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    ranges = allowed(model)
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _settings(inner, f"{prefix}{name}.")
            continue
        default = _plain(field.get_default(call_default_factory=True))
        lines = (f"  {prefix}{name} = {default}", field.description, f"allowed: {ranges[name]}")
        yield f"{prefix}{name}", "\n      ".join(map(str, lines))


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value)
