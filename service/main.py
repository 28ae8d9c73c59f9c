"""The application, put together: a table of contents."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from service import __version__
from service.accounts import metrics as accounts_metrics
from service.accounts.administration import router as administration
from service.accounts.api_keys import router as api_keys
from service.accounts.passwords import router as passwords
from service.accounts.recovery import router as recovery
from service.accounts.sign_in import router as auth
from service.accounts.users import router as users
from service.audit import router as audit
from service.catalogue import router as items
from service.catalogue.stock import router as stock
from service.compute import router as compute
from service.container.api import Container, Shared
from service.customers import router as customers
from service.customers.dashboard import router as dashboard
from service.identity import metrics as identity_metrics
from service.invoices import router as invoices
from service.notifications import router as notifications
from service.notifications.streams import router as streams
from service.operations import router as operations
from service.orders import metrics as orders_metrics
from service.orders import router as orders
from service.platform.config import Settings, load_settings
from service.platform.http import docs, openapi, problems
from service.platform.http import metrics as http_metrics
from service.platform.http.addresses import Hosts, Proxies
from service.platform.http.context import ErrorMiddleware, RequestContext
from service.platform.http.cors import Cors
from service.platform.http.overload import BodyLimit, Load, LoadShedding
from service.platform.http.refusal_at_once import RefusalAtOnce
from service.platform.http.request_state import API_PREFIX
from service.platform.http.response_cache import ResponseCacheMiddleware
from service.platform.http.route import RouteTable
from service.platform.telemetry import logging, tracing
from service.posts import router as posts
from service.weather import router as weather
from service.webhooks import openapi as webhook_messages
from service.webhooks import router as webhooks

log = structlog.get_logger(__name__)

#: Paths of requests that leave no span. A stream's would last for minutes, and say nothing.
UNTRACED = problems.PROBES | {f"{API_PREFIX}/notifications/stream"}
ROUTERS: tuple[APIRouter, ...] = (
    items.router,
    orders.router,
    stock.router,
    posts.router,
    users.router,
    passwords.router,
    customers.router,
    notifications.router,
    dashboard.router,
    invoices.router,
    streams.router,
    weather.router,
    administration.router,
    auth.router,
    recovery.router,
    api_keys.router,
    audit.router,
    webhooks.router,
    compute.router,
    operations.router,
    auth.well_known,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for these settings, or for those of the environment (`uvicorn --factory`)."""
    settings = settings or load_settings()
    return assemble(build_app(settings), settings, Shared())


def build_app(settings: Settings) -> FastAPI:
    """The routes, which processes may share: a process that has built them may be forked.

    So nothing here opens a file or a connection, starts a thread, or knows an event loop.
    """
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        # FastAPI's own telemetry would ask at each request whether there is a provider.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    app.state.contract = openapi.install(app, webhook_messages)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    if settings.docs_enabled:
        docs.install(app)
    return app


def assemble(app: FastAPI, settings: Settings, shared: Shared) -> FastAPI:
    """Give the application what is a process's own: logging, container, middleware and tracing."""
    # Gunicorn configures logging anew in its master, after whatever has been configured there.
    logging.configure(settings.log_level, settings.log_format)
    named = settings.otel_service_name, __version__
    app.state.log_export = logging.export_to(settings.logs_endpoint, *named)
    app.state.container = container = Container.build(settings, app.state.contract, shared)
    load = Load(settings.database_pool_size + settings.database_max_overflow)
    proxies, hosts = Proxies.of(settings), Hosts.of(settings)
    app.user_middleware[:] = _middleware(container, app.routes, load, proxies, hosts)
    # Asked by the server, before it runs the application.
    app.state.refuse_at_once = RefusalAtOnce(load, proxies, hosts, container.response_cache.__contains__)
    app.state.tracing = tracing.of(settings.traces_endpoint, *named)
    if app.state.tracing is not None:
        app.state.tracing.instrument(app, UNTRACED)
    return app


def _middleware(
    container: Container, routes: Sequence[BaseRoute], load: Load, proxies: Proxies, hosts: Hosts
) -> list[Middleware]:
    """From the outside in. CORS stands outside of what refuses, so that a browser may read refusals."""
    settings = container.settings
    cache = Middleware(
        ResponseCacheMiddleware,
        cache=container.response_cache,
        feed=container.feed,
        authenticator=container.authenticator,
    )
    return [
        Middleware(
            RequestContext,
            proxies=proxies,
            hosts=hosts,
            count_refusal=orders_metrics.count_refusal,
        ),
        Middleware(Cors, origins=settings.cors_origins, credentials=settings.cors_credentials),
        Middleware(ErrorMiddleware),
        *([cache] if settings.response_cache_bytes else []),
        Middleware(LoadShedding, load=load),
        Middleware(BodyLimit, limit=settings.max_body_bytes),
        Middleware(RouteTable, routes=routes),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    log.info("service.started", version=__version__, environment=container.settings.environment)
    for begin in (accounts_metrics.begin, http_metrics.begin, identity_metrics.begin):
        begin()
    orders_metrics.begin(container.settings.currency)
    container.contract.read()
    await container.start()
    yield
    await container.stop()
    log.info("service.stopped")
    # Last of all, so that the spans and lines of the shutdown itself are sent too.
    exports = (app.state.tracing, app.state.log_export)
    await tracing.end_exports(exports, container.settings.graceful_timeout)
