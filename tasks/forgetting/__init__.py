"""Forgetting a listener, and keeping them forgotten."""
