"""Which sampled trace the current task works for, for exemplars.

Imports nothing of prometheus_client, which decides when it is imported whether its metrics are in files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace

#: Names of an exemplar's labels, as OpenTelemetry has them. With the ids these are 63 characters; OpenMetrics
#: allows 128.
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
Ids = dict[str, str]

#: Empty where there is no sampled trace, or when its span has ended, for tasks that were started meanwhile
#: and go on. It is read at every observation, which is why it is not looked up in the current span: that
#: takes many times as long.
_trace: Final[ContextVar[list[Ids] | tuple[()]]] = ContextVar("sampled_trace", default=())
current: Final = _trace.get
#: Those whose span has not ended. Where it is empty, `current` need not be asked.
live: Final[dict[int, list[Ids]]] = {}


@contextmanager
def span_noted(span: trace.Span | None = None) -> Iterator[None]:
    """What is observed inside belongs to the trace of this span, or of the one that is given to `note`."""
    mine: list[Ids] = []
    token = _trace.set(mine)
    if span is not None:
        note(span)
    try:
        yield
    finally:
        _trace.reset(token)
        live.pop(id(mine), None)
        mine.clear()


def note(span: trace.Span) -> None:
    """Inside of `span_noted`, in the same task."""
    found, mine = span.get_span_context(), _trace.get()
    if isinstance(mine, list) and found.is_valid and found.trace_flags.sampled:
        ids = trace.format_trace_id(found.trace_id), trace.format_span_id(found.span_id)
        mine.append({TRACE_ID: ids[0], SPAN_ID: ids[1]})
        live[id(mine)] = mine
