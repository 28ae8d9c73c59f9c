"""What handlers use of what the process is made of. Each names the one thing that it needs:

    @router.get("/weather/{city}")
    async def get_weather(city: str, weather: Annotated[WeatherService, Component]) -> Weather: ...

The class of the route hands it over. The framework's own dependencies cost 20 microseconds each.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, Protocol, TypeVar, get_args

from fastapi import Request
from fastapi.routing import APIRoute

from service.platform.config import Settings
from service.platform.database import Database
from service.platform.http.authentication import Authenticator

T = TypeVar("T")
Endpoint = Callable[..., Awaitable[Any]]


class Component:
    """Stands in the annotation of what the container holds."""


class Components(Protocol):
    """What the platform knows of the container."""

    authenticator: Authenticator

    def of(self, kind: type[T]) -> T:
        """The one thing of this type. Raises KeyError where there is none."""


def component(request: Request, kind: type[T]) -> T:
    """The same for dependencies, which are handed a request."""
    components: Components = request.app.state.container
    return components.of(kind)


def with_components(endpoint: Endpoint) -> Endpoint:
    """The endpoint, asking the framework for nothing that the container holds."""
    parameters = inspect.signature(endpoint).parameters.values()
    kinds = {each.name: get_args(each.annotation)[0] for each in parameters if _is_component(each)}
    if not kinds:
        return endpoint

    rest = [each for each in parameters if each.name not in kinds]
    # The framework hands a request to one parameter alone.
    own = next((each.name for each in rest if each.annotation is Request), None)
    name_of_request = own or "components_of"

    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        request: Request = values[name_of_request] if own else values.pop(name_of_request)
        components = {name: component(request, kind) for name, kind in kinds.items()}
        return await endpoint(**values, **components)

    if own is None:
        rest.append(inspect.Parameter(name_of_request, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    signature = inspect.signature(endpoint)
    run.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return run


def _is_component(parameter: inspect.Parameter) -> bool:
    return Component in get_args(parameter.annotation)[1:]


class ComponentRoute(APIRoute):
    """A route whose handler may name components."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, with_components(endpoint), **options)


DatabaseDep = Annotated[Database, Component]
SettingsDep = Annotated[Settings, Component]
