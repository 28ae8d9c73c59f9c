"""Which address a request comes from, as far as the proxies between are trusted."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from service.config.types import Network

#: No chain of proxies is longer; who sends more wants to be read for a long time.
MOST_HOPS: Final = 32
#: Of an address, with a port and brackets around.
LONGEST_HOP: Final = 60
HOP: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)"
)


def client_address(peer: str | None, forwarded: Iterable[bytes], trusted: tuple[Network, ...]) -> str | None:
    """The right-most address that is no trusted proxy's, walking back from the connection's `peer`.

    `forwarded` has the values of all X-Forwarded-For headers in their order: each proxy adds, at the
    end, whom it was asked by, and what stands left of the first untrusted address may be made up. An
    entry that cannot be read ends the walk, at the proxy that has passed it on.
    """
    address = _parsed(peer) if peer else None
    if address is None:
        return peer
    hops = _hops(forwarded) if trusted and _within(address, trusted) else []
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
