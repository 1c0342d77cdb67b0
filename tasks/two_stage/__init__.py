"""The second stage: candidates of every user, rankers of them, and the lists that they make."""
