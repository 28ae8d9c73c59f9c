"""One POST to a target: to an address that was checked, within a time, without following anything."""

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
from service.webhooks.addresses import Address
from service.webhooks.targets import Reason, Refused, Target, Targets

#: Seconds for all of it, from the look-up of the name to the last byte that is read.
TOTAL_SECONDS: Final = 10.0
#: Seconds for one address: a host may have several, of which some are out of reach from here.
CONNECT_SECONDS: Final = 4.0
MOST_ADDRESSES: Final = 4
#: What is kept of an answer, for people to see what was wrong.
EXCERPT_BYTES: Final = 1_024
HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": f"Tradepost-Webhooks/{__version__}",
    "Accept": "*/*",
    # An answer that is cut could not be unpacked.
    "Accept-Encoding": "identity",
    "Connection": "close",
}

Fault = Reason | Literal["connect", "tls", "timeout", "protocol", "secret_unreadable"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: a status and the beginning of the body, or a fault."""

    seconds: float
    status: int | None = None
    excerpt: bytes = b""
    retry_after: str | None = None
    fault: Fault | None = None


class Sender:
    """Calls targets. Connections are not kept: one belongs to a name, and would be found by its address."""

    def __init__(
        self, targets: Targets, *, total: float = TOTAL_SECONDS, trust: ssl.SSLContext | None = None
    ) -> None:
        self._targets, self._total = targets, total
        transport = httpx2.AsyncHTTPTransport(
            verify=trust or _trusted(),
            trust_env=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._client = httpx2.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(total, connect=min(total, CONNECT_SECONDS), pool=None),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        )

    async def aclose(self) -> None:
        await self._client.aclose()
        self._targets.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Never raises for what the other side does."""
        started = time.monotonic()
        heard = _Heard()
        fault: Fault | None = None
        try:
            async with asyncio.timeout(self._total):
                await self._call(url, headers, body, heard)
        except Refused as refusal:
            fault = refusal.reason
        except (TimeoutError, httpx2.TimeoutException):
            fault = "timeout"
        except httpx2.ConnectError as error:
            fault = "tls" if _is_tls(error) else "connect"
        except (httpx2.HTTPError, httpx2.InvalidURL):
            fault = "protocol"
        seconds = time.monotonic() - started
        if heard.status is None:
            return Answer(seconds, fault=fault)
        # Once there is a status, what becomes of the body does not matter.
        return Answer(seconds, heard.status, bytes(heard.excerpt), heard.retry_after)

    async def _call(self, url: str, headers: Mapping[str, str], body: bytes, heard: "_Heard") -> None:
        target = self._targets.read(url)
        *others, last = (await self._targets.addresses(target))[:MOST_ADDRESSES]
        for address in others:
            try:
                return await self._call_at(target, address, headers, body, heard)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing has been sent
        return await self._call_at(target, last, headers, body, heard)

    async def _call_at(
        self, target: Target, address: Address, headers: Mapping[str, str], body: bytes, heard: "_Heard"
    ) -> None:
        """To this address and no other: its URL has no name that could be looked up again."""
        # The certificate must be the name's; where the target is an address itself, that address's.
        names = {} if target.literal else {"sni_hostname": target.host}
        async with self._client.stream(
            "POST",
            target.at(address),
            headers={**HEADERS, **headers, "Host": target.authority},
            content=body,
            extensions=names,
        ) as response:
            heard.status = response.status_code
            heard.retry_after = response.headers.get("Retry-After")
            async for chunk in response.aiter_raw():
                heard.excerpt += chunk[: EXCERPT_BYTES - len(heard.excerpt)]
                if len(heard.excerpt) >= EXCERPT_BYTES:
                    break


@dataclass(slots=True)
class _Heard:
    """What an answer has said so far: it may stop at any point."""

    status: int | None = None
    excerpt: bytearray = field(default_factory=bytearray)
    retry_after: str | None = None


def _trusted() -> ssl.SSLContext:
    """The system's authorities (SSL_CERT_FILE names others), and the usual ones: small images have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
