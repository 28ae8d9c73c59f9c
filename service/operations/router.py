"""What machines and operators ask: who this is, whether it lives, whether it is ready."""

from typing import Annotated

from fastapi import Response
from pydantic import SerializeAsAny

from service import __version__
from service.operations.schemas import Health, Welcome
from service.platform.http.injection import Component, SettingsDep
from service.platform.http.route import operations_router
from service.platform.server.health.probes import Probes
from service.platform.server.health.schemas import Alive, NotYetReady, Readiness, Started

router = operations_router(tags=["operations"])


@router.get("/")
async def get_welcome(settings: SettingsDep) -> Welcome:
    """Get the service's name, version and links."""
    docs = {"docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json"} if settings.docs_enabled else {}
    links = {"api": "/api/v1", "health": "/health", **docs}
    return Welcome(message="Welcome to Tradepost", name="Tradepost", version=__version__, links=links)


@router.get("/health")
async def get_health() -> Health:
    """Get the health of the process. The response is 200 as long as the process serves requests."""
    return Health(version=__version__)


@router.get("/livez")
async def get_liveness() -> Alive:
    """Check liveness. Needs nothing outside the process; only a blocked event loop fails the check."""
    return Alive()


@router.get(
    "/readyz",
    responses={
        503: {
            "model": NotYetReady | Readiness,
            "description": "The process has not been ready yet, is draining, or has no database.",
        }
    },
)
async def get_readiness(
    probes: Annotated[Probes, Component], response: Response
) -> SerializeAsAny[Readiness]:
    """Check readiness. 503 until the database has once had the schema of this release, and while draining;
    also without database, if `READINESS_DATABASE` is `hard`.
    """
    readiness = await probes.readiness()
    if readiness.status != "ready":
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return readiness


@router.get("/startupz")
async def get_startup() -> Started:
    """Check that the process serves. Whether it can use its database is the readiness."""
    return Started()
