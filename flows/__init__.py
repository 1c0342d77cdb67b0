"""Wiring: flows chain the stages of ``tasks`` and are the only place that knows Prefect."""
