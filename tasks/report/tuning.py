"""TUNING.md and the picture of a search: what was tried, what came of it, how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import altair as alt
import polars as pl

from tasks.report import charts
from tasks.report.charts import Figure, figure
from tasks.report.files import staged, write_figures, write_text
from tasks.report.text import count, moment, plain, table

FIGURE = "tuning_search"
HEADLINES = {
    "better": "better settings",
    "no better": "not shown to be better",
    "worse": "the given settings are better",
    "same": "the given settings stay",
}
Edge = datetime | int


@dataclass(frozen=True)
class Tuned:
    """What is told of one search; ``facts`` are those of ``tasks.tuning.stages.concluded``.

    ``names`` are the settings in ``group`` that were searched, ``edges`` the windows' judged stretches,
    oldest first, the last for confirming. ``command`` uses what came of it, ``remark`` says more.
    """

    facts: Mapping[str, Any]
    dataset: str
    target: str
    what: str
    group: str
    names: Sequence[str]
    metric: str
    direction: Literal["minimize", "maximize"]
    edges: Sequence[tuple[Edge, Edge]]
    command: str
    remark: str = ""

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Best first, then those given up, the longest watched first."""
        sign = 1 if self.direction == "minimize" else -1

        def order(each: Mapping[str, Any]) -> tuple[float, ...]:
            if each["value"] is not None:
                return 0, sign * each["value"], each["number"]
            return 1, -each["curve"][-1][0], each["number"]

        return sorted(self.facts["trials"], key=order)

    @property
    def verdict(self) -> str:
        """Whether the best settings are better than the given, and by how much, in a sentence or two."""
        told, tried = self.facts["comparison"], len(self.facts["trials"]) - 1
        if self.facts["found"] == "same":
            return (
                f"None of {count(tried, 'setting')} of {self.what} did better than those given on the "
                "windows that settings are chosen on: those given stay."
            )
        numbers = (
            f"{self.metric} on validation, which had no part in the choice, {shown(told['best'][:1])} "
            f"against {shown(told['given'][:1])}, difference {shown(told['difference'], '+')}"
        )
        given = self.facts["trials"][0]["point"]
        says = {
            "better": (
                f"The best of {tried} settings of {self.what} is better than those given: {numbers}."
            ),
            "no better": (
                f"The best of {tried} settings of {self.what} is not shown to be better than those "
                f"given: {numbers}. The interval includes 0, or there is too little data for one. "
                f"tuned.yaml holds {'those given' if self.facts['settings'] == given else 'the best'}."
            ),
            "worse": (
                f"The settings given stay: the best of {tried} others of {self.what} is worse on newer "
                f"plays: {numbers}."
            ),
        }
        return says[self.facts["found"]]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and lines of the table of trials."""
        lines = []
        for each in self.trials:
            given_up = each["value"] is None
            result = "given up" if given_up else shown([each["value"]])
            title = str(each["number"]) if each["number"] else "given"
            values = [str(each["point"][name]) for name in self.names]
            lines.append([title, result, *values, f"{each['seconds']:.1f}"])
        return ["trial", self.metric, *self.names, "seconds"], lines

    def frame(self, most: int = 10) -> pl.DataFrame:
        """The best trials, as text, for a terminal."""
        header, lines = self.rows()
        return pl.DataFrame(lines[:most], schema=header, orient="row").drop("seconds")


def write(told: Tuned, settings: str, folder: Path) -> None:
    """Write TUNING.md, its figure, and ``settings`` as tuned.yaml, each whole or not at all."""
    drawn = draw(told)
    with staged(folder) as place:
        write_figures(place, [drawn])
        write_text(place / "TUNING.md", text(told, drawn))
        write_text(place / "tuned.yaml", settings)


def text(told: Tuned, drawn: Figure) -> str:
    """TUNING.md: the verdict first."""
    facts, comparison = told.facts, told.facts["comparison"]
    given = facts["trials"][0]["point"]
    chosen, best = facts["settings"], facts["trials"][facts["best"]]["point"]
    lower = "lower" if told.direction == "minimize" else "higher"
    header, lines = told.rows()
    given_up = sum(each["value"] is None for each in facts["trials"])
    windows = [
        [moment(start), moment(end), "choosing" if place < len(told.edges) - 1 else "confirming"]
        for place, (start, end) in enumerate(told.edges)
    ]
    parts = [
        f"# {told.what} of {told.dataset}, {told.target}: {HEADLINES[facts['found']]}",
        f"**{plain(told.verdict)}**",
        f"`tuned.yaml` holds the settings to use: `{told.command}`. The holdout was not read; that run "
        "looks at it, and promotes only what is better there too.",
        *([plain(told.remark)] if told.remark else []),
        "## Settings",
        table(
            [told.group, "given", "best tried", "tuned.yaml"],
            [[name, str(given[name]), str(best[name]), str(chosen[name])] for name in told.names],
        ),
        "## Given and best on validation",
        f"{told.metric}, {lower} is better; 95 % intervals by {comparison['units']:,} units of kind "
        f"{comparison['unit']} over {count(comparison['rows'], 'row')}, paired.",
        table(
            ["settings", told.metric],
            [
                ["given", shown(comparison["given"])], ["best tried", shown(comparison["best"])],
                ["best minus given", shown(comparison["difference"], "+")],
            ],
        ),
        "## Trials",
        f"{count(len(facts['trials']) - 1, 'trial')} beside those given, best first, {given_up} of "
        f"them given up early. The {told.metric} is the mean over the windows for choosing: that of the "
        "best of many is flattered, which is why validation confirms it.",
        table(header, lines),
        f"![{plain(drawn.title)}](figures/{drawn.name}.svg)",
        "## Windows",
        table(["judged from", "to", "for"], windows),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def draw(told: Tuned) -> Figure:
    """Every trial by its number, and the best so far."""
    smaller = told.direction == "minimize"
    finished = [each for each in told.facts["trials"] if each["value"] is not None]
    values = [each["value"] for each in finished]
    frame = pl.DataFrame({"trial": [each["number"] for each in finished], "value": values})
    best = pl.col("value").cum_min() if smaller else pl.col("value").cum_max()
    given = values[0]
    # a setting far off would press all others into a line
    reach = 3 * max(abs(given - (min(values) if smaller else max(values))), 0.002)
    near = frame.filter(pl.col("value").is_between(given - reach, given + reach))
    last = max(each["number"] for each in told.facts["trials"])
    x = alt.X(
        "trial:Q", title="trial", scale=alt.Scale(domain=[0, last], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1, grid=False),
    )  # fmt: skip
    y = alt.Y(
        "value:Q", title=f"{told.metric} on the windows for choosing",
        scale=alt.Scale(zero=False, nice=False, padding=12), axis=alt.Axis(format=".4f", tickCount=5),
    )  # fmt: skip
    numbers = pl.DataFrame({"trial": range(last + 1)}, schema={"trial": pl.Int64})
    so_far = numbers.join(frame, on="trial", how="left", maintain_order="left").with_columns(
        value=best.forward_fill()
    )
    line = alt.Chart(so_far).mark_line(interpolate="step-after", color=charts.ACCENT, opacity=0.6)
    points = alt.Chart(near).mark_point(filled=True, size=50, color=charts.ACCENT)
    mark = alt.Chart(pl.DataFrame({"value": [given]})).mark_rule(strokeDash=[4, 4], color=charts.MUTED)
    layers = mark.encode(y=y) + line.encode(x=x, y=y) + points.encode(x=x, y=y)
    given_up = [each["number"] for each in told.facts["trials"] if each["value"] is None]
    if given_up:
        ends = pl.DataFrame({"trial": given_up})
        cross = alt.Chart(ends).mark_point(shape="cross", angle=45, size=40, color=charts.MUTED)
        layers = layers + cross.encode(x=x, y=alt.value(8 if smaller else charts.HEIGHT - 8))
    out = frame.height - near.height
    beyond = f" {count(out, 'trial')} beyond the picture." if out else ""
    return figure(
        FIGURE, f"The search for settings of {told.what}",
        "Each point is a setting that was tried, the line the best so far, dashed those given. "
        f"Crosses at the edge were given up early.{beyond}",
        f"best {shown([min(values) if smaller else max(values)])}, given {shown([given])}",
        layers.properties(width=charts.WIDTH, height=charts.HEIGHT),
    )  # fmt: skip


def shown(told: Sequence[float | None], sign: str = "") -> str:
    """A value, and its bounds where they are known: ``.4312 (.4251 to .4373)``, four digits."""
    value, *bounds = ("–" if each is None else _four(each, sign) for each in told)
    return f"{value} ({' to '.join(bounds)})" if bounds and "–" not in bounds else value


def _four(value: float, sign: str) -> str:
    text = f"{value:{sign}.4f}"
    return (text.replace("0.", ".", 1) if abs(value) < 1 else text).replace("-", "−")
