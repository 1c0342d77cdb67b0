"""Searching settings: proposed, judged before the holdout, confirmed on validation."""
