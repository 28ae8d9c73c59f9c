"""Metrics without labels, made when they are first needed.

prometheus_client opens the file of such a metric when it is made. At import its folder may not be there,
and a gauge at 0 in the master's files would be the smallest of all for ever.
"""

from typing import Final, Literal

from prometheus_client import Counter, Gauge

_counters: Final[dict[str, Counter]] = {}
_gauges: Final[dict[str, Gauge]] = {}


def counter(name: str, documentation: str) -> Counter:
    if name not in _counters:
        _counters[name] = Counter(name, documentation)
    return _counters[name]


def gauge(name: str, documentation: str, mode: Literal["livesum", "livemin", "livemax"]) -> Gauge:
    if name not in _gauges:
        _gauges[name] = Gauge(name, documentation, multiprocess_mode=mode)
    return _gauges[name]
