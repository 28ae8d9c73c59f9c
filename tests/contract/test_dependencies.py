"""What every request runs through."""

import inspect
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from service.dependencies.route import OpenRoute, Route
from service.main import API_PREFIX


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
    assert len(found) > 200
    assert {repr(call) for call in found if not awaits(call)} == set()


def test_every_route_of_the_api_admits_whoever_calls(app: FastAPI) -> None:
    """A router without the class would have no rate limit, and would let bad credentials pass."""
    routes = {
        context.path: context.original_route
        for context in iter_route_contexts(app.routes)
        if context.path is not None and context.path.startswith(API_PREFIX)
    }
    assert len(routes) > 40
    assert [path for path, route in routes.items() if not isinstance(route, Route)] == []
    lenient = {path for path, route in routes.items() if isinstance(route, OpenRoute)}
    assert lenient == {
        f"{API_PREFIX}/auth/{name}" for name in ("token", "revoke", "sessions", "sessions/{session_id}")
    }
