"""The recommender as MLflow serves it: this file is the model's code, the folder its artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from tasks.two_stage.recommender import load

K, HEARD = 10, "include"  # where a request does not say


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Rows of user_id and, if wanted, k and heard in; a list for each out."""

    def load_context(self, context: Any) -> None:
        """Load the recommender from its folder, and answer once, so that nothing loads later."""
        self.recommender = load(Path(context.artifacts["recommender"]))
        for user in (*list(self.recommender.place)[:1], ""):
            self.recommender.answer(user, K, HEARD)

    # MLflow takes other hints than a frame for a signature of their own, and ours is given.
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[Any]:  # noqa: ARG002
        """One answer for each row, in order; what cannot be asked is refused with its reason."""
        asked = model_input.to_dict("records")
        try:
            return [
                self.recommender.answer(
                    str(row["user_id"]), int(_given(row, "k", K)), str(_given(row, "heard", HEARD))
                )
                for row in asked
            ]
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _given(row: dict[Any, Any], name: str, default: object) -> Any:
    value = row.get(name)
    return default if value is None or value != value else value


mlflow.models.set_model(Served())
