"""What handlers use of what the process is made of. Each names the one thing that it needs:

    @router.get("/weather/{city}")
    async def get_weather(city: str, weather: Annotated[WeatherService, Component]) -> Weather: ...

The route class hands it over (route.py). Here are also the database sessions of handlers, and the Location
of what a POST has made.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Request, Response

from service.platform.config import Settings
from service.platform.database import Database, Session
from service.platform.http.request_state import BeforeLookup, Caller

T = TypeVar("T")


class Component:
    """Stands in the annotation of what the container holds."""


class Transaction:
    """Stands in the annotation of a handler's session. One request is one transaction, committed before the
    response is sent.
    """


class Reading:
    """Stands in the annotation of a session for plain reads: no transaction, so no BEGIN and no ROLLBACK."""


class Authenticator(Protocol):
    async def authenticate(
        self, request: Request, before_lookup: BeforeLookup | None = None
    ) -> Caller | None:
        """The caller, or None without credentials. Raises Unauthenticated for bad ones.

        Where the database must be asked, `before_lookup` is awaited first.
        """


class Components(Protocol):
    """What the platform knows of the container."""

    authenticator: Authenticator

    #: The one thing of each type.
    by_type: Mapping[type[Any], Any]


def component(request: Request, kind: type[T]) -> T:
    """The same for dependencies, which are handed a request."""
    components: Components = request.app.state.container
    found: T = components.by_type[kind]
    return found


DatabaseDep = Annotated[Database, Component]
SettingsDep = Annotated[Settings, Component]


SessionDep = Annotated[Session, Transaction]
ReaderDep = Annotated[Session, Reading]


async def get_located(request: Request, response: Response) -> Callable[[int], None]:
    """A function that notes where the new resource is: below the collection that was posted to."""

    def located(resource_id: int) -> None:
        response.headers["Location"] = f"{request.scope['path']}/{resource_id}"

    return located


Located = Annotated[Callable[[int], None], Depends(get_located)]
