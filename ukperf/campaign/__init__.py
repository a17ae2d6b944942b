"""Plan, schedule, run, journal, resume."""
