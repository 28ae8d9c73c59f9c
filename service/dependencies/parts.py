"""What a process is made of, put together once by main and handed to dependencies."""

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from service import embedded
from service.changes import ChangeFeed
from service.config import Settings
from service.database import Database
from service.edge.openapi import Contract
from service.edge.response_cache import Memory
from service.invoices.pool import Renderers
from service.limits.policies import Limits
from service.limits.slowdown import SlowDown, free_failures
from service.limits.store import Store
from service.mail import ADDRESSES
from service.outgoing.secrets import Vault
from service.outgoing.targets import Targets
from service.pagination import Cursors
from service.passwords import Passwords
from service.security import AccessTokens, Pseudonyms, RefreshTokens, derive
from service.services.access import Access
from service.services.auth import Issuer
from service.services.idempotency import Retries
from service.services.keys import Keys
from service.services.operations import Probes
from service.services.streams import Streams
from service.services.vitals import Vitals
from service.services.weather import WeatherService


@dataclass
class Parts:
    settings: Settings
    database: Database
    feed: ChangeFeed
    memory: Memory
    access: Access
    keys: Keys
    streams: Streams
    tokens: AccessTokens
    passwords: Passwords
    issuer: Issuer
    cursors: Cursors
    contract: Contract
    weather: WeatherService
    targets: Targets
    vault: Vault
    #: Seals the addresses that mails go to.
    addresses: Vault
    counts: Store
    limits: Limits
    retries: Retries
    renderers: Renderers
    vitals: Vitals
    probes: Probes

    @classmethod
    def of(cls, settings: Settings, contract: Contract) -> Self:
        """The parts for these settings. Nothing is connected yet; the embedded PostgreSQL is started."""
        secret = settings.secret_key.get_secret_value()
        accepted = tuple(key.get_secret_value() for key in settings.secret_keys_accepted)
        url = _database_url(settings)
        database = Database(url, settings)
        access, keys, passwords = Access(database), Keys(database), Passwords()
        streams, memory = Streams(database), Memory(settings.response_cache_bytes)
        readers = (access.reader, keys.reader, streams.reader, memory.reader)
        tokens = AccessTokens(
            secret, accepted, issuer=settings.token_issuer, audience=settings.token_audience
        )
        counts = Store(settings.redis_url.get_secret_value() if settings.redis_url else None)
        free = free_failures(settings.rate_limit_sign_in)
        slow_down = SlowDown(counts, derive(secret, "slow-down"), free=free)
        refresh_tokens, pseudonyms = RefreshTokens(secret, accepted), Pseudonyms(secret)
        feed = ChangeFeed(_direct_url(settings) or url, readers, database.notify)
        return cls(
            settings=settings,
            database=database,
            feed=feed,
            memory=memory,
            access=access,
            keys=keys,
            streams=streams,
            tokens=tokens,
            passwords=passwords,
            issuer=Issuer(database, passwords, tokens, refresh_tokens, pseudonyms, slow_down),
            cursors=Cursors(*(derive(key, "cursors") for key in (secret, *accepted))),
            contract=contract,
            weather=WeatherService(settings.weather_geocoding_url, settings.weather_url),
            targets=Targets(allow_private=settings.webhook_allow_private),
            vault=Vault(secret, accepted),
            addresses=Vault(secret, accepted, label=ADDRESSES),
            counts=counts,
            limits=Limits(counts, settings),
            retries=Retries(
                tuple(derive(key, "idempotency") for key in (secret, *accepted)), settings.retention_keys
            ),
            renderers=Renderers(),
            vitals=Vitals(database, lambda: feed.current),
            probes=Probes(database, settings),
        )

    async def start(self) -> None:
        """Begin what runs beside the requests. None of it needs a database that answers."""
        await self.feed.start()
        await self.streams.start(self.feed)
        await self.vitals.start()

    async def stop(self) -> None:
        """End it, and close every connection: the database last, for the others may still write."""
        await self.vitals.stop()
        await self.probes.aclose()
        await self.streams.stop()
        await self.renderers.aclose()
        await self.feed.stop()
        await self.keys.settle()
        await self.weather.aclose()
        await self.counts.aclose()
        self.targets.close()
        self.passwords.close()
        await self.database.close()


def _database_url(settings: Settings) -> str:
    """In development without DATABASE_URL, the embedded PostgreSQL: started here, or joined."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.start(settings.data_dir).url.replace("postgresql://", "postgresql+asyncpg://")


def _direct_url(settings: Settings) -> str | None:
    """Past a pooler, which would not keep a connection for LISTEN."""
    return settings.database_direct_url.get_secret_value() if settings.database_direct_url else None


def parts_of(request: Request) -> Parts:
    """For dependencies, which need no dependency to find them: solving each takes 20 microseconds."""
    parts: Parts = request.app.state.parts
    return parts


async def get_parts(request: Request) -> Parts:
    return parts_of(request)


async def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.parts.settings
    return settings


PartsDep = Annotated[Parts, Depends(get_parts)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
