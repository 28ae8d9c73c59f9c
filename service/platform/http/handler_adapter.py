"""A handler as FastAPI calls it: the one place that changes a handler's signature."""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, get_args

from fastapi import Request
from fastapi.routing import APIRoute

from service.platform.http.etag.versions import Versioned, tag_of
from service.platform.http.idempotency.requests import Idempotency
from service.platform.http.injection import Component, component
from service.platform.http.request_state import state_of

Endpoint = Callable[..., Awaitable[Any]]
#: The name of the request, where the handler does not ask for it.
_REQUEST: Final = "request_of_endpoint"


def has_tag(endpoint: Endpoint) -> bool:
    """Whether the handler returns a resource that has an entity tag."""
    shown = inspect.signature(endpoint).return_annotation
    return isinstance(shown, type) and issubclass(shown, Versioned) and shown.tagged


def adapted(endpoint: Endpoint, idempotency: Idempotency | None = None) -> Endpoint:
    """The handler, given its components, run once for an idempotency key, and its resource's tag noted.

    FastAPI is asked for none of this: one of its dependencies costs 20 microseconds.
    """
    signature, tagged = inspect.signature(endpoint), has_tag(endpoint)
    kinds = {each.name: get_args(each.annotation)[0] for each in _components(signature)}
    session = idempotency.session if idempotency else None
    if not (kinds or tagged or session):
        return endpoint

    rest = [each for each in signature.parameters.values() if each.name not in kinds]
    # FastAPI hands the request to one parameter alone.
    own = next((each.name for each in rest if each.annotation is Request), None)

    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        request: Request = values[own] if own else values.pop(_REQUEST)
        if idempotency and session:
            replayed = await idempotency.replay(request, values[session])
            if replayed is not None:
                return replayed
        for name, kind in kinds.items():
            values[name] = component(request, kind)
        result = await endpoint(**values)
        if tagged:
            state_of(request.scope).etag = tag_of(result)
        return result

    if own is None:
        rest.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    run.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return run


def _components(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [each for each in signature.parameters.values() if Component in get_args(each.annotation)[1:]]


class ComponentRoute(APIRoute):
    """A route whose handler may name components."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, adapted(endpoint), **options)
