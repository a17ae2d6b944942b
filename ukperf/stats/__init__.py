"""Pure functions on arrays: summaries, estimates, verdicts."""
