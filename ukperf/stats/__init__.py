"""Pure functions on arrays: summaries, estimates, verdicts. The one room that imports scipy."""
