"""Terminal tables, one-file HTML, exports (one module a format)."""
