"""Composition root: the components of a process are built, started and stopped here, once.

`api.py` is for processes that serve requests, `worker.py` for `tradepost worker`, which needs no web
framework.
"""
