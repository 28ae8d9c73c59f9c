"""Run in a network and mount namespace of its own, by test_namespace: prints what was sent where.

There is a way out for every address, of which every packet is seen; a name server whose answers change,
asked through the system's resolver; and the client as it ships.
"""

import asyncio
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

from service.webhooks.deliveries.http_client import DeliveryClient
from service.webhooks.targets import TargetRefused, Targets
from tests.webhooks.addresses import EVERY_REFUSED

PUBLIC = ("93.184.216.34", "2606:4700::1111")
#: No address of a name has a scope.
REFUSED = tuple(address for address in EVERY_REFUSED if "%" not in address)
#: Of these it is shown that a packet would have been seen: they are connected to where that is allowed.
WOULD_LEAVE = (
    "10.0.0.1", "169.254.169.254", "100.64.0.1", "172.16.0.1", "192.168.0.1", "192.0.2.1", "127.0.0.1", "::1",
    "fd00::1", "64:ff9b::7f00:1", "2002:a00:1::1", "2001::1", "fec0::1", *PUBLIC,
)  # fmt: skip
ETHERTYPES = {0x0800: (IPv4Address, 16, 20), 0x86DD: (IPv6Address, 24, 40)}
DNS_PORT = 53
A, AAAA = 1, 28


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def set_up(folder: str) -> None:
    run("mount", "--make-rprivate", "/")
    with open(f"{folder}/resolv.conf", "w") as file:  # noqa: PTH123
        file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    run("mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "out", "type", "veth", "peer", "name", "far")
    for device in ("out", "far"):
        # Without ARP a packet is not held back by a neighbour that does not answer.
        run("ip", "link", "set", device, "arp", "off", "up")
    run("ip", "address", "add", "192.0.2.200/32", "dev", "out")
    run("ip", "address", "add", "2001:db8::200/128", "dev", "out", "nodad")
    run("ip", "route", "add", "default", "dev", "out")
    run("ip", "-6", "route", "add", "default", "dev", "out")


class Sniffer:
    """The destination of each packet of TCP, UDP or ICMP on any device, but for the name server's."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            packet, (_, ethertype, *_) = self._socket.recvfrom(65_535)
            if ethertype not in ETHERTYPES:
                continue
            kind, start, header = ETHERTYPES[ethertype]
            protocol = packet[9] if kind is IPv4Address else packet[6]
            ports = struct.unpack("!HH", packet[header : header + 4]) if protocol in (6, 17) else ()
            if DNS_PORT not in ports:
                size = 4 if kind is IPv4Address else 16
                self.seen.add(str(kind(packet[start : start + size])))

    def settle(self) -> set[str]:
        time.sleep(0.3)
        return self.seen


class NameServer:
    """Answers every name with `addresses`, of the kind that is asked for."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", DNS_PORT))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
            wanted = {A: 4, AAAA: 6}.get(kind)
            found = [ip_address(each).packed for each in self.addresses if ip_address(each).version == wanted]
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
            records = (
                b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(packed)) + packed for packed in found
            )
            self._socket.sendto(head + query[12:end] + b"".join(records), client)


async def rebound(
    names: NameServer, targets: Targets, client: DeliveryClient, number: int, address: str
) -> list[str | None]:
    """The outcome of a delivery to a name that was public at its registration, and of a new registration."""
    url = f"https://rebound-{number}.example.com/"
    names.addresses = PUBLIC
    await targets.check(url)
    names.addresses = (address,) if number % 2 else (*PUBLIC, address)
    answer = await client.post(url, {}, b"{}")
    try:
        await targets.check(url)
    except TargetRefused as refusal:
        registered: str | None = refusal.reason
    else:
        registered = None
    return [answer.fault, registered]


async def called(url: str) -> None:
    client = DeliveryClient(Targets(allow_private=True), total=0.5)
    await client.post(url, {}, b"{}")
    await client.aclose()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        set_up(folder)
    names, sniffer = NameServer(), Sniffer()
    targets = Targets()
    client = DeliveryClient(targets)
    faults = {
        address: await rebound(names, targets, client, number, address)
        for number, address in enumerate(REFUSED)
    }
    await client.aclose()
    while_refused = sorted(sniffer.settle())
    # The measure itself: what is called is seen.
    await asyncio.gather(*(called(f"http://{_host(address)}/") for address in WOULD_LEAVE))
    while_allowed = sorted(sniffer.settle())
    json.dump({"faults": faults, "refused": while_refused, "allowed": while_allowed}, sys.stdout)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


if __name__ == "__main__":
    asyncio.run(main())
