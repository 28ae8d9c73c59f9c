"""Ids and client address of the current request, for log lines and the audit log."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

#: Clients may send any method: what these are not shares one value in metrics and spans.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """`request_id` goes back to the client; it may be chosen by the client. `own_id` is always ours."""

    request_id: str | None = None
    own_id: str | None = None
    #: The client's address, as far as the proxies between are trusted.
    address: str | None = None

    @property
    def caller_request_id(self) -> str | None:
        """The id that the client has given, or None when it gave none."""
        return None if self.request_id == self.own_id else self.request_id


_facts: ContextVar[RequestFacts] = ContextVar("request_facts", default=RequestFacts())  # noqa: B039 - it is frozen


def facts() -> RequestFacts:
    """Of the request that this task serves; empty in a command or a background task of its own."""
    return _facts.get()


def begin(new: RequestFacts) -> None:
    _facts.set(new)


@contextmanager
def during(new: RequestFacts) -> Iterator[None]:
    """For what is answered outside of a task of its own."""
    token = _facts.set(new)
    try:
        yield
    finally:
        _facts.reset(token)
