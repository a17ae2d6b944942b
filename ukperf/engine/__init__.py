"""From a request to a finished run: plan, blocks, trials, records, journal."""
