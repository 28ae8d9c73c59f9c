"""What handlers use of what the process is made of. Each names the one thing that it needs:

    @router.get("/weather/{city}")
    async def get_weather(city: str, weather: Annotated[WeatherService, Component]) -> Weather: ...

The route class hands it over (endpoint.py).
"""

from typing import Annotated, Protocol, TypeVar

from fastapi import Request

from service.platform.config import Settings
from service.platform.database import Database
from service.platform.http.authentication import Authenticator

T = TypeVar("T")


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


DatabaseDep = Annotated[Database, Component]
SettingsDep = Annotated[Settings, Component]
