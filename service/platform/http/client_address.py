"""Which address a request comes from, and by which scheme, as far as the proxies between are trusted."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self

from service.platform.config import Settings
from service.platform.config.types import MOST_HOPS, Network

FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
#: Of an address, with a port and brackets around.
LONGEST_HOP: Final = 60
HOP: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)"
)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Those that are believed, and how many of them can stand one behind the other."""

    networks: tuple[Network, ...]
    most: int = MOST_HOPS

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.trusted_proxies, settings.trusted_proxy_hops or MOST_HOPS)

    def client(
        self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[str | None, str | None]:
        """The client's address, and the scheme that it has used, if a proxy says so."""
        if not self.networks:
            return client_address(peer, (), ()), None
        found = {name: value for name, value in headers if name in FORWARDED}
        forwarded = (found[b"x-forwarded-for"],) if b"x-forwarded-for" in found else ()
        address = client_address(peer, forwarded, self.networks, self.most)
        proxy = _parsed(peer) if peer else None
        if proxy is None or not _within(proxy, self.networks):
            return address, None
        return address, _scheme(found.get(b"x-forwarded-proto", b""))


def _scheme(forwarded: bytes) -> str | None:
    """Of several proxies each may have added its own: https is what all of them say."""
    schemes = {entry.strip().lower() for entry in forwarded.split(b",")}
    if not schemes <= {b"http", b"https"}:
        return None
    return "https" if schemes == {b"https"} else "http"


def client_address(
    peer: str | None, forwarded: Iterable[bytes], trusted: tuple[Network, ...], most: int = MOST_HOPS
) -> str | None:
    """The right-most address that is no trusted proxy's, walking back from the connection's `peer`, but for
    no more than `most` entries: who has an address within the trusted networks, and is no proxy, could make
    up the next one.

    `forwarded` has the values of all X-Forwarded-For headers in their order: each proxy adds, at the
    end, whom it was asked by, and what stands left of the first untrusted address may be made up. An
    entry that cannot be read ends the walk, at the proxy that has passed it on.
    """
    address = _parsed(peer) if peer else None
    if address is None:
        return peer
    hops = _hops(forwarded)[:most] if trusted and _within(address, trusted) else []
    for hop in hops:
        before = _parsed(hop)
        if before is None:
            break
        address = before
        if not _within(address, trusted):
            break
    return str(address)


def _hops(forwarded: Iterable[bytes]) -> list[str]:
    """The entries from the last one back."""
    entries = b",".join(forwarded).decode("latin-1").rsplit(",", MOST_HOPS)
    return [entry.strip() for entry in entries[::-1][:MOST_HOPS] if entry.strip()]


@lru_cache(maxsize=4_096)
def _within(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, perhaps with a port; IPv4 in its own form also where it comes mapped into IPv6."""
    match = HOP.fullmatch(text) if len(text) <= LONGEST_HOP else None
    try:
        address = ip_address(match["bracketed"] or match["plain"] or match["bare"]) if match else None
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
