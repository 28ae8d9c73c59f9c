"""Composition root: what a process is made of is built, started and stopped here, once.

`api` is for processes that serve requests, `worker` for those that work on the queue: no web framework there.
"""
