"""The load: six connections with one request under way on each, at a fixed rate or as fast as answers come.

One thread and one process beside those that are measured. Requests are made before the clock starts; at a
fixed rate a request that finds no free connection waits, and its time counts from when it was due, so that a
service that is late does not look fast.
"""

import gc
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle

#: Fewer than the connections that each service's pool keeps, or requests would wait for each other.
CONNECTIONS = 6
TIMEOUT = 60.0


class Unexpected(Exception):
    """An answer that is not the expected one, or none."""


@dataclass
class Outcome:
    seconds: float = 0.0
    #: Milliseconds of each request.
    times: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.times)


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._received = self._asked = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, began: float) -> None:
        self.began, self._received, self._asked = began, b"", request
        self.socket.sendall(request)

    def answer(self) -> tuple[bytes, bytes] | None:
        """Status and body, once all of it has come."""
        data = self.socket.recv(262_144)
        if not data:
            asked, waited = self._asked.partition(b"\r\n")[0], time.perf_counter() - self.began
            raise Unexpected(f"{asked!r}: closed after {waited:.3f} s and {self._received[:200]!r}")
        received = self._received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        status, body = received[9:12], received[end + 4 :]
        if len(body) < _length(status, received[:end]):
            return None
        return status, body


def _length(status: bytes, head: bytes) -> int:
    if status in {b"304", b"204"}:
        return 0
    place = head.lower().find(b"\r\ncontent-length:")
    if place < 0:
        raise Unexpected(f"an answer has no length: {head!r}")
    return int(head[place + 17 :].split(b"\r\n", 1)[0])


class Load:
    def __init__(self, port: int) -> None:
        self._port, self._connections = port, list[Connection]()

    def close(self) -> None:
        for each in self._connections:
            each.socket.close()

    def at_rate(self, requests: list[bytes], status: bytes, rate: float) -> Outcome:
        """Each request at its time; the answers' bodies are kept."""
        outcome, free, waiting = Outcome(), self._connected(), deque[float]()
        busy: set[Connection] = set()
        queue = iter(requests)
        gc.disable()
        began = time.perf_counter()
        due = 0
        while outcome.count < len(requests):
            now = time.perf_counter()
            while due < len(requests) and began + due / rate <= now:
                # A connection is free: the request leaves now, however late this client has woken up.
                waiting.append(now if len(free) > len(waiting) else began + due / rate)
                due += 1
            while waiting and free:
                connection = free.pop()
                connection.send(next(queue), waiting.popleft())
                busy.add(connection)
            rest = began + due / rate - time.perf_counter() if due < len(requests) else TIMEOUT
            for connection in _readable(busy, max(rest, 0)):
                if (answer := connection.answer()) is not None:
                    self._take(outcome, connection, answer, status, keep=True)
                    busy.discard(connection)
                    free.append(connection)
        outcome.seconds = time.perf_counter() - began
        gc.enable()
        return outcome

    def saturate(
        self, requests: list[bytes], status: bytes, seconds: float = TIMEOUT, *, once: bool = False
    ) -> Outcome:
        """One after the other on each connection, for so many seconds, or each of them once."""
        outcome, connections = Outcome(), self._connected()
        queue = iter(requests) if once else cycle(requests)
        gc.disable()
        began = time.perf_counter()
        busy = set()
        for connection, request in zip(connections, queue, strict=False):
            connection.send(request, time.perf_counter())
            busy.add(connection)
        while busy:
            for connection in _readable(busy, TIMEOUT):
                if (answer := connection.answer()) is None:
                    continue
                self._take(outcome, connection, answer, status, keep=once)
                now = time.perf_counter()
                request = next(queue, None) if now - began < seconds else None
                if request is None:
                    busy.discard(connection)
                else:
                    connection.send(request, now)
        outcome.seconds = time.perf_counter() - began
        gc.enable()
        return outcome

    def _connected(self) -> list[Connection]:
        """Those that a service has closed while others were asked are opened again."""
        closed = set(_readable(set(self._connections), 0)) if self._connections else set()
        kept = [each for each in self._connections if each not in closed]
        self._connections = kept + [Connection(self._port) for _ in range(CONNECTIONS - len(kept))]
        return list(self._connections)

    def _take(
        self,
        outcome: Outcome,
        connection: Connection,
        answer: tuple[bytes, bytes],
        status: bytes,
        *,
        keep: bool,
    ) -> None:
        outcome.times.append((time.perf_counter() - connection.began) * 1_000)
        if answer[0] != status:
            raise Unexpected(f"it answered {answer[0]!r} {answer[1][-400:]!r}, not {status!r}")
        if keep:
            outcome.bodies.append(answer[1])


def _readable(connections: set[Connection], seconds: float) -> list[Connection]:
    # select(), because its time-outs have microseconds; poll() and epoll() round them up to milliseconds.
    ready, _, _ = select.select(connections, (), (), seconds)
    if not ready and seconds >= TIMEOUT:
        raise Unexpected("no answer came for a minute")
    return ready


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"] + (
        [f"Content-Length: {len(body)}"] if body else []
    )
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
