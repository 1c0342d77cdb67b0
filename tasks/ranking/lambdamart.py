"""LambdaMART: LightGBM that learns to order the candidates of each list (Burges, MSR-TR-2010-82)."""

from __future__ import annotations

from tasks.ranking import boosting
from tasks.ranking.protocol import Ranker, Task

load = boosting.load


def fit(task: Task) -> Ranker:
    """Fit on the lists of ``task.group``; stops by NDCG@10 on validation, which also calibrates."""
    objective = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10]}
    return boosting.grow(task, objective, task.group)
