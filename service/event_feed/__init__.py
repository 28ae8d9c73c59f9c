"""The event feed: all events in the order of their commits, for clients that ask or wait for them.

No other domain uses this package.
"""
