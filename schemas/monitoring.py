"""Settings of `monitor`: what is compared, and when retraining pays."""

from pydantic import Field

from schemas.settings import Count, Settings, Share


class Monitor(Settings):
    """The `monitor` flow: the newest plays against those that a model was trained on.

    The two thresholds of the population stability index are the usual ones: below .1 little has
    changed, from .25 on much has (Lewis, An Introduction to Credit Scoring, 1994; Siddiqi, Credit
    Risk Scorecards, 2006).
    """

    days: Count = Field(28, description="with a clock: length of the newest stretch that is compared")
    share: Share = Field(0.1, description="without a clock: the same, as a share of the rows")
    bins: int = Field(10, ge=2, le=50, description="quantile bins of a number, levels of a category")
    min_rows: Count = Field(200, description="fewer new rows are too few to say anything")
    slight: float = Field(0.1, gt=0, description="PSI from which a feature has drifted slightly")
    strong: float = Field(0.25, gt=0, description="PSI from which it has drifted strongly")
    drifted_gain: float = Field(
        0.1, gt=0, le=1, description="share of the model's gain in strongly drifted features that counts"
    )
    growth: float = Field(
        0.25, gt=0, description="new known labels, per label trained on, that make retraining pay"
    )
    margin: float = Field(
        0.002, ge=0, description="log loss that the model must have lost for retraining to pay"
    )
    ndcg_margin: float = Field(
        0.005, ge=0, description="NDCG that lists must have lost for retraining to pay"
    )
    windows: Count = Field(
        2, description="lists: most windows since training that are judged, the newest that have passed"
    )
