"""The registered model as MLflow loads it: this file is the model's code, the folder its artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import polars as pl

from tasks.training import load


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Feature rows in (a pandas frame with the signature's columns), probabilities out."""

    def load_context(self, context: Any) -> None:
        """Load the ranker from its folder."""
        self.ranker = load(Path(context.artifacts["ranker"]))

    # MLflow reads type hints here as a signature of its own, and ours is given when logging.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002
        """Probability of the target for each row, in order."""
        return self.ranker.score(pl.from_pandas(model_input))


mlflow.models.set_model(Served())
