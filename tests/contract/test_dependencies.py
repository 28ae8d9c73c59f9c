"""What every request runs through."""

import inspect
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from service.platform.http.request_state import API_PREFIX
from service.platform.http.route import OpenRoute


def calls(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from calls(each)


def awaits(call: object) -> bool:
    found = call if inspect.isroutine(call) else getattr(call, "__call__", None)  # noqa: B004 - it is looked at
    return inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)


def test_no_dependency_takes_a_thread(app: FastAPI) -> None:
    """FastAPI runs a plain function in a thread, which takes longer than what it does there."""
    found = [call for context in iter_route_contexts(app.routes) for call in calls(context.dependant)]
    assert len(found) > 120
    assert {repr(call) for call in found if not awaits(call)} == set()


def test_bad_credentials_pass_where_tokens_are_got_and_given_back_alone(app: FastAPI) -> None:
    lenient = {
        context.path
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, OpenRoute)
    }
    names = ("token", "revoke", "sessions", "sessions/{session_id}")
    assert lenient == {f"{API_PREFIX}/auth/{name}" for name in names}
