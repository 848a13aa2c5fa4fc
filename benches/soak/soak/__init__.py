"""Load with failures, reloads and reconnects for a given time; only Python's own library."""
