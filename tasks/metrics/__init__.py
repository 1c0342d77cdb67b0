"""How good are the probabilities: point values, bootstrap intervals and curves, on plain arrays."""
