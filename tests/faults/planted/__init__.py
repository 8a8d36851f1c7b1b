"""Receivers with one thing wrong each, to show that the faults' checks find it. `python -m tests.faults.planted.X serve`."""
