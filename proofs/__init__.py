"""Runs against the whole service that show what it keeps while things fail: `python -m proofs NAME`."""
