"""Which IP addresses are public unicast, by a list of the project's own.

`ipaddress.is_global` follows another purpose and changes with the interpreter: it lets multicast, the
6to4 relays and NAT64's prefix through, in which an IPv4 address of the inner network can be written.
The refused blocks are those of IANA's special-purpose registries (2025-10-09), the globally reachable ones
included: no receiver is there. Of IPv6 only what is allocated is public.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

REFUSED_V4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT); clouds have their metadata here too
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, with the clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, with the broadcast address
    )
)
#: All that IANA has allocated for unicast. Outside it are loopback, mapped and compatible IPv4
#: addresses, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), discard-only, segment routing, unique local,
#: link-local, site-local and multicast.
UNICAST_V6: Final = IPv6Network("2000::/3")
REFUSED_V6: Final = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the 6bone, returned
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether this is a public unicast address, and no IPv4 address written as IPv6."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in REFUSED_V4)
    if address.scope_id is not None or address not in UNICAST_V6:
        return False
    return not any(address in block for block in REFUSED_V6)
