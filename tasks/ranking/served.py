"""The registered model as MLflow loads it: this file is the model's code, the folder its artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import polars as pl

from tasks.ranking.protocol import Probabilities
from tasks.training import load


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Feature rows in (a pandas frame with the signature's columns), probabilities out."""

    def load_context(self, context: Any) -> None:
        """Load the ranker from its folder."""
        self.ranker = load(Path(context.artifacts["ranker"]))

    # MLflow takes other hints than a frame for a signature of their own, and ours is given.
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Probabilities:  # noqa: ARG002
        """Probability of the target for each row, in order."""
        return self.ranker.score(pl.from_pandas(model_input))


mlflow.models.set_model(Served())
