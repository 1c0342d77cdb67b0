"""What Encore's tables, settings and refusals look like; imports nothing of Encore's own."""
