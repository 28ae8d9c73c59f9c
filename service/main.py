"""The application, put together: a table of contents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from service import __version__, embedded
from service.changes import ChangeFeed
from service.config import Settings, load_settings
from service.database import Database
from service.dependencies.contract import honour_contract
from service.dependencies.parts import Parts
from service.edge import docs, openapi, problems
from service.edge.context import RequestContext
from service.edge.cors import Cors
from service.edge.faults import Faults
from service.edge.limits import BodyLimit, Shedding
from service.observability import logging, tracing
from service.pagination import Cursors
from service.routers import (
    auth,
    compute,
    dashboard,
    items,
    notifications,
    operations,
    orders,
    posts,
    stock,
    users,
    weather,
)
from service.security import AccessTokens, Passwords, derive
from service.services.access import Access
from service.services.weather import WeatherService

log = structlog.get_logger(__name__)

API_PREFIX = "/api/v1"
ROUTERS: tuple[APIRouter, ...] = (
    users.router,
    users.admin,
    items.router,
    stock.router,
    orders.router,
    weather.router,
    posts.router,
    notifications.router,
    dashboard.router,
    compute.router,
)
CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_ACCEPTED = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
    "traceparent",
)
CORS_EXPOSED = (
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for these settings, or for those of the environment (`uvicorn --factory`)."""
    settings = settings or load_settings()
    logging.configure(settings.log_level, settings.log_format)
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
        lifespan=_lifespan,
        middleware=_middleware(settings),
    )
    problems.install(app)
    app.state.parts = _parts(settings, openapi.install(app))
    app.include_router(operations.router)
    app.include_router(auth.router, prefix=API_PREFIX, dependencies=[Depends(honour_contract)])
    for router in ROUTERS:
        app.include_router(router, prefix=API_PREFIX, dependencies=[Depends(honour_contract)])
    if settings.docs_enabled:
        docs.install(app)
    if settings.traces_endpoint:
        app.state.tracing = tracing.install(
            app,
            endpoint=settings.traces_endpoint,
            service_name=settings.otel_service_name,
            service_version=__version__,
        )
    return app


def _parts(settings: Settings, contract: openapi.Contract) -> Parts:
    secret = settings.secret_key.get_secret_value()
    url = _database_url(settings)
    database = Database(url, settings)
    access = Access(database)
    return Parts(
        settings=settings,
        database=database,
        feed=ChangeFeed(_direct_url(settings) or url, (access.reader,)),
        access=access,
        tokens=AccessTokens(
            secret,
            tuple(key.get_secret_value() for key in settings.secret_keys_accepted),
            issuer=settings.token_issuer,
            audience=settings.token_audience,
        ),
        passwords=Passwords(),
        cursors=Cursors(derive(secret, "cursors")),
        contract=contract,
        weather=WeatherService(settings.weather_geocoding_url, settings.weather_url),
    )


def _database_url(settings: Settings) -> str:
    """In development without DATABASE_URL, the embedded PostgreSQL: started here, or joined."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.start(settings.data_dir).url.replace("postgresql://", "postgresql+asyncpg://")


def _direct_url(settings: Settings) -> str | None:
    """Past a pooler, which would not keep a connection for LISTEN."""
    return settings.database_direct_url.get_secret_value() if settings.database_direct_url else None


def _middleware(settings: Settings) -> list[Middleware]:
    """From the outside in. CORS stands outside of what refuses, so that a browser may read refusals."""
    return [
        Middleware(RequestContext),
        Middleware(
            Cors,
            allow_origins=settings.cors_origins,
            allow_credentials=settings.cors_credentials,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_ACCEPTED,
            expose_headers=CORS_EXPOSED,
        ),
        Middleware(Faults),
        Middleware(Shedding, connections=settings.database_pool_size + settings.database_max_overflow),
        Middleware(BodyLimit, limit=settings.max_body_bytes),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    log.info("service.started", version=__version__, environment=parts.settings.environment)
    await parts.feed.start()
    yield
    await parts.feed.stop()
    await parts.weather.aclose()
    parts.passwords.close()
    await parts.database.close()
    log.info("service.stopped")
    if hasattr(app.state, "tracing"):
        # Last of all, so that the spans of the shutdown itself are sent too.
        app.state.tracing.shutdown()
