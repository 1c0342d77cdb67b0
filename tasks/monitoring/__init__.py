"""The newest plays against what the champion was trained on; whether retraining pays."""
