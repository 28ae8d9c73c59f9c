"""The components of a process that serves requests."""

from dataclasses import dataclass, field
from typing import Any, Self, get_type_hints

from service.accounts.sign_in.service import Issuer
from service.accounts.sign_in.throttle import SignInThrottle, free_failures
from service.compute.service import Squares
from service.errors import ConfigError
from service.identity import Passwords, Revocations
from service.identity.api_keys.cache import ApiKeyCache
from service.identity.dependencies import BearerAuthenticator
from service.identity.tokens import AccessTokens, Pseudonyms, RefreshTokens
from service.invoices.queue import InvoiceQueue
from service.invoices.renderer_process import RendererProcess
from service.notifications.streams.subscribers import Subscribers
from service.platform.config import Settings, direct_setting
from service.platform.crypto import derive
from service.platform.database import Database
from service.platform.database.change_feed import ChangeFeed
from service.platform.database.pagination import Cursors
from service.platform.http.idempotency.retries import Retries
from service.platform.http.openapi import Contract
from service.platform.http.rate_limit import Limits
from service.platform.http.rate_limit_store import Store
from service.platform.http.response_cache import ResponseCache
from service.platform.mail import AddressCipher
from service.platform.server.health.health_metrics import ProcessMonitor
from service.platform.server.health.probes import Probes
from service.platform.server.health.startup import Listener, Startup, StartupRecord
from service.weather.open_meteo import OpenMeteo
from service.weather.service import WeatherService
from service.webhooks.signing import SecretCipher
from service.webhooks.targets import Targets


@dataclass(frozen=True)
class Shared:
    """What the processes of one service have together. It is made before they are forked."""

    startup: StartupRecord = field(default_factory=StartupRecord)
    renderer: RendererProcess = field(default_factory=RendererProcess)


@dataclass
class Container:
    settings: Settings
    database: Database
    feed: ChangeFeed
    response_cache: ResponseCache
    revocations: Revocations
    api_keys: ApiKeyCache
    subscribers: Subscribers
    tokens: AccessTokens
    authenticator: BearerAuthenticator
    passwords: Passwords
    issuer: Issuer
    cursors: Cursors
    contract: Contract
    weather: WeatherService
    targets: Targets
    secret_cipher: SecretCipher
    address_cipher: AddressCipher
    counts: Store
    limits: Limits
    retries: Retries
    invoices: InvoiceQueue
    squares: Squares
    monitor: ProcessMonitor
    startup: Startup
    probes: Probes

    def __post_init__(self) -> None:
        self.by_type: dict[type[Any], Any] = {
            kind: getattr(self, name) for name, kind in get_type_hints(type(self)).items()
        }

    @classmethod
    def build(cls, settings: Settings, contract: Contract, shared: Shared) -> Self:
        """The container for these settings. Nothing is connected yet; the embedded PostgreSQL is started."""
        secret = settings.secret_key.get_secret_value()
        accepted = tuple(key.get_secret_value() for key in settings.secret_keys_accepted)
        url = _database_url(settings)
        database = Database(url, settings, pooled=True)
        revocations, api_keys, passwords = Revocations(database), ApiKeyCache(database), Passwords()
        subscribers, response_cache = Subscribers(database), ResponseCache(settings.response_cache_bytes)
        listeners = (revocations.listener, api_keys.listener, subscribers.listener, response_cache.listener)
        feed = ChangeFeed(_direct_url(settings) or url, listeners, database.notify)
        names = {"issuer": settings.token_issuer, "audience": settings.token_audience}
        tokens = AccessTokens(secret, accepted, **names, clock=feed.clock)
        counts = Store(settings.redis_url.get_secret_value() if settings.redis_url else None)
        free = free_failures(settings.rate_limit_sign_in)
        throttle = SignInThrottle(counts, derive(secret, "slow-down"), free=free)
        refresh_tokens, pseudonyms = RefreshTokens(secret, accepted), Pseudonyms(secret)
        listener = Listener(direct_setting(settings), lambda: feed.has_lease, lambda: feed.cause)
        asked = "DATABASE_POOLER" if settings.database_pooler else "DATABASE_URL"
        startup = Startup("service.held_up", database.revision, asked, listener, shared.startup)
        return cls(
            settings=settings,
            database=database,
            feed=feed,
            response_cache=response_cache,
            revocations=revocations,
            api_keys=api_keys,
            subscribers=subscribers,
            tokens=tokens,
            authenticator=BearerAuthenticator(database, feed, revocations, api_keys, tokens),
            passwords=passwords,
            issuer=Issuer(database, passwords, tokens, refresh_tokens, pseudonyms, throttle),
            cursors=Cursors(*(derive(key, "cursors") for key in (secret, *accepted))),
            contract=contract,
            weather=WeatherService(OpenMeteo(settings.weather_geocoding_url, settings.weather_url)),
            targets=Targets(allow_private=settings.webhook_allow_private),
            secret_cipher=SecretCipher(secret, accepted),
            address_cipher=AddressCipher(secret, accepted),
            counts=counts,
            limits=Limits(counts, settings),
            retries=Retries(
                tuple(derive(key, "idempotency") for key in (secret, *accepted)), settings.retention_keys
            ),
            invoices=InvoiceQueue(shared.renderer),
            squares=Squares(),
            monitor=ProcessMonitor(database, lambda: feed.has_lease),
            startup=startup,
            probes=Probes(database, settings, startup),
        )

    async def start(self) -> None:
        """Start the background tasks. None of them needs a database that answers."""
        await self.feed.start()
        await self.startup.start()
        await self.subscribers.start(self.feed)
        await self.monitor.start()

    async def stop(self) -> None:
        """Stop them, and close every connection: the database last, because the others may still write."""
        await self.monitor.stop()
        await self.probes.aclose()
        await self.startup.stop()
        await self.subscribers.stop()
        self.invoices.close()
        await self.feed.stop()
        await self.api_keys.settle()
        await self.weather.aclose()
        await self.counts.aclose()
        self.targets.close()
        self.squares.close()
        self.passwords.close()
        await self.database.close()


def _database_url(settings: Settings) -> str:
    """In development without DATABASE_URL, the embedded PostgreSQL: started here, or joined."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    try:
        from service.dev import embedded  # noqa: PLC0415 - the production image is without it
    except ImportError:
        raise ConfigError(
            ("DATABASE_URL: is missing; write postgresql://user:password@host:5432/name",)
        ) from None
    return embedded.start(settings.data_dir).url.replace("postgresql://", "postgresql+asyncpg://")


def _direct_url(settings: Settings) -> str | None:
    """The address that bypasses a pooler, which would not keep a connection for LISTEN."""
    return settings.database_direct_url.get_secret_value() if settings.database_direct_url else None
