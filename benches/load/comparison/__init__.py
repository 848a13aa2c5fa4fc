"""The load comparison: see BENCHMARKS.md."""
