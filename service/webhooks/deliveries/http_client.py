"""One attempt: a POST to a checked address of the target, within a time limit, following no redirect."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Literal

import certifi
import httpx2

from service import __version__
from service.webhooks.address_ranges import Address
from service.webhooks.targets import Reason, Target, TargetRefused, Targets

#: Seconds for an attempt, from the look-up of the name to the last byte that is read.
TIMEOUT_SECONDS: Final = 10.0
#: Seconds for one address: a host may have several, of which some cannot be reached from here.
CONNECT_TIMEOUT_SECONDS: Final = 4.0
MAX_ADDRESSES: Final = 4
#: What is kept of a response's body, so that administrators see what was wrong.
EXCERPT_BYTES: Final = 1_024
HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": f"Tradepost-Webhooks/{__version__}",
    "Accept": "*/*",
    # A response that is cut off could not be decompressed.
    "Accept-Encoding": "identity",
    "Connection": "close",
}

Fault = Reason | Literal["connect", "tls", "timeout", "protocol", "secret_unreadable"]


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """A status and the beginning of the response body, or a fault."""

    seconds: float
    status: int | None = None
    excerpt: bytes = b""
    retry_after: str | None = None
    fault: Fault | None = None


class DeliveryClient:
    """Connections are not kept: one belongs to a name, and the pool would find it by address."""

    def __init__(
        self, targets: Targets, *, total: float = TIMEOUT_SECONDS, trust: ssl.SSLContext | None = None
    ) -> None:
        self._targets, self._total = targets, total
        transport = httpx2.AsyncHTTPTransport(
            verify=trust or _default_trust(),
            trust_env=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._client = httpx2.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(total, connect=min(total, CONNECT_TIMEOUT_SECONDS), pool=None),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        )

    async def aclose(self) -> None:
        await self._client.aclose()
        self._targets.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AttemptResult:
        """Never raises for what the receiver does."""
        started = time.monotonic()
        received = _Received()
        fault: Fault | None = None
        try:
            async with asyncio.timeout(self._total):
                await self._call(url, headers, body, received)
        except TargetRefused as refusal:
            fault = refusal.reason
        except (TimeoutError, httpx2.TimeoutException):
            fault = "timeout"
        except httpx2.ConnectError as error:
            fault = "tls" if _is_tls(error) else "connect"
        except (httpx2.HTTPError, httpx2.InvalidURL):
            fault = "protocol"
        seconds = time.monotonic() - started
        if received.status is None:
            return AttemptResult(seconds, fault=fault)
        # Once there is a status, a fault while the body is read does not matter.
        return AttemptResult(seconds, received.status, bytes(received.excerpt), received.retry_after)

    async def _call(self, url: str, headers: Mapping[str, str], body: bytes, received: "_Received") -> None:
        target = self._targets.parse(url)
        *others, last = (await self._targets.resolve(target))[:MAX_ADDRESSES]
        for address in others:
            try:
                return await self._call_at(target, address, headers, body, received)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing has been sent
        return await self._call_at(target, last, headers, body, received)

    async def _call_at(
        self, target: Target, address: Address, headers: Mapping[str, str], body: bytes, received: "_Received"
    ) -> None:
        """To this address only: its URL has no name that could be looked up again."""
        # The certificate must be for the name; where the target is an IP address, for that.
        names = {} if target.literal else {"sni_hostname": target.host}
        async with self._client.stream(
            "POST",
            target.url_at(address),
            headers={**HEADERS, **headers, "Host": target.authority},
            content=body,
            extensions=names,
        ) as response:
            received.status = response.status_code
            received.retry_after = response.headers.get("Retry-After")
            async for chunk in response.aiter_raw():
                received.excerpt += chunk[: EXCERPT_BYTES - len(received.excerpt)]
                if len(received.excerpt) >= EXCERPT_BYTES:
                    break


@dataclass(slots=True)
class _Received:
    """What has been received of a response: it may stop at any point."""

    status: int | None = None
    excerpt: bytearray = field(default_factory=bytearray)
    retry_after: str | None = None


def _default_trust() -> ssl.SSLContext:
    """The system's authorities (SSL_CERT_FILE names others), and certifi's: small images have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
