"""Webhooks: signed events for other systems. `deliveries` is the worker's part.

No other domain uses this package; a repository above may read its tables.
"""
