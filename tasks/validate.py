"""What happens at each table's border: good rows pass, bad ones are named, our own faults stop."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaError, SchemaErrors

from schemas.tables import Quarantine, columns

# derived from other columns: blamed only when those are fine
DERIVED = ("started_at",)


def split_valid(
    model: type[pa.DataFrameModel], frame: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that meet the model, in their order, and one ``Quarantine`` row for each that does not.

    A row is blamed on its first column at fault. Tables without ``file`` and ``position`` are
    located by their own name and the row's index in ``frame``. Raises ``ValueError`` when the frame
    itself has other columns or types than the model: no row is to blame for that.
    """
    cases = _failure_cases(model, frame)
    if cases is None:
        return frame, pl.DataFrame(schema=columns(Quarantine))
    order = {name: rank for rank, name in enumerate(columns(model))}
    faults = (
        cases.select(
            pl.col("index").cast(pl.Int64),
            pl.col("column"),
            _reasons(model, cases),
            rank=pl.col("column").replace_strict(order, return_dtype=pl.Int64)
            + pl.col("column").is_in(DERIVED).cast(pl.Int64) * len(order),
        )
        .sort("index", "rank", maintain_order=True)
        .unique("index", keep="first", maintain_order=True)
    )
    good = frame.filter(~pl.int_range(pl.len()).is_in(faults["index"].implode()))
    return good, _quarantined(model, frame, faults)


def refuse(
    model: type[pa.DataFrameModel], frame: pl.DataFrame, column: str, reason: str, faulty: pl.Expr
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Like ``split_valid``, for a rule that the model cannot hold; a null condition is no fault."""
    marked = frame.select(faulty.fill_null(value=False)).to_series()
    if not marked.any():
        return frame, pl.DataFrame(schema=columns(Quarantine))
    faults = pl.DataFrame({"index": marked.arg_true().cast(pl.Int64)}).with_columns(
        column=pl.lit(column), reason=pl.lit(f"{column}: {reason}")
    )
    return frame.filter(~marked), _quarantined(model, frame, faults)


def check(model: type[pa.DataFrameModel], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame itself. Raises ``ValueError`` with the failure cases: here no row may fail."""
    cases = _failure_cases(model, frame)
    if cases is not None:
        raise ValueError(f"{_name(model)}: {cases.height} faults, the first: {_shown(cases)}")
    return frame


def _failure_cases(model: type[pa.DataFrameModel], frame: pl.DataFrame) -> pl.DataFrame | None:
    """Pandera's failure cases by row; None if there are none."""
    try:
        model.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases: pl.DataFrame = error.failure_cases
        whole = cases.filter(pl.col("index").is_null())
        if not whole.is_empty():
            raise ValueError(f"{_name(model)}: not its columns or types: {_shown(whole)}") from error
        return cases
    except SchemaError as error:
        raise ValueError(f"{_name(model)}: not its columns or types: {error.check}") from error
    return None


def _shown(cases: pl.DataFrame) -> str:
    """Columns and checks without the values: these may be personal."""
    return str(cases.select("column", "check", "index").head(5).to_dicts())


def _quarantined(
    model: type[pa.DataFrameModel], frame: pl.DataFrame, faults: pl.DataFrame
) -> pl.DataFrame:
    rows = frame[faults["index"]]
    located = "file" in frame.columns and "position" in frame.columns
    file = rows["file"] if located else pl.Series([None] * rows.height, dtype=pl.String)
    position = rows["position"] if located else pl.Series([None] * rows.height, dtype=pl.Int64)
    return faults.select(
        table=pl.lit(_name(model)),
        file=file.fill_null(_name(model)),
        position=pl.coalesce(position, "index"),
        column="column",
        reason="reason",
    )


def _reasons(model: type[pa.DataFrameModel], cases: pl.DataFrame) -> pl.Expr:
    """``reason``: the column and what is wrong with it, in words."""
    reasons = {
        (column, check): f"{column}: {_words(model, column, check)}"
        for column, check in cases.select("column", "check").unique().rows()
    }
    keys = [f"{column} {check}" for column, check in reasons]
    return (
        pl.concat_str("column", pl.lit(" "), "check")
        .replace_strict(keys, list(reasons.values()), return_dtype=pl.String)
        .alias("reason")
    )


def _words(model: type[pa.DataFrameModel], column: str, check: str) -> str:
    if check == "not_nullable":
        return "missing"
    if check == "field_uniqueness":
        return "not unique"
    bounds: dict[str, Any] = {}
    for each in model.to_schema().columns[column].checks:
        bounds |= {each.name: next(iter(each.statistics.values()))}
    low, high = bounds.get("greater_than_or_equal_to"), bounds.get("less_than_or_equal_to")
    if check.startswith("isin"):
        return "not one of " + ", ".join(map(str, bounds["isin"]))
    if low is not None and high is not None:
        return f"not in {low}..{high}"
    if isinstance(low, datetime):
        return f"before {low:%Y-%m-%d}"
    if check.startswith("less_than("):
        return f"not below {bounds['less_than']}"
    if check.startswith("greater_than("):
        return f"not above {bounds['greater_than']}"
    return f"not {check}"


def _name(model: type[pa.DataFrameModel]) -> str:
    return model.__name__.lower()
