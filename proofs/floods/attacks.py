"""Hostile requests, each bounded by a number and a time."""

import asyncio
import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Final

from proofs.floods.bench import Bench
from proofs.floods.generator import request
from proofs.floods.sockets import CLOSED, OPEN, Attempts, Raw, dripped, exchange
from tests.contract.worst import bodies
from tests.helpers.client import V1

MIB: Final = 1 << 20
POST: Final = f"POST {V1}/users HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n".encode()
GET: Final = f"GET {V1}/items HTTP/1.1\r\nHost: shop.example\r\n".encode()


async def _each(it: Bench, requests: Iterable[Iterable[bytes]], seconds: float, at_once: int = 4) -> Attempts:
    """These in turn, some at once, until there are none left or the time is over."""
    answers: Counter[str] = Counter()
    left = iter(requests)

    async def work() -> None:
        for pieces in left:
            answers[await exchange(it.port, pieces)] += 1

    workers = asyncio.gather(*(work() for _ in range(at_once)))
    await asyncio.wait((workers,), timeout=seconds)
    left = iter(())
    await workers
    return Attempts(answers)


async def slow_heads(it: Bench, seconds: float) -> Attempts:
    return await dripped(it.port, GET + b"X: ", 1_000, seconds)


async def slow_bodies(it: Bench, seconds: float) -> Attempts:
    return await dripped(it.port, POST + b"Content-Length: 1000\r\n\r\n{", 1_000, seconds - 2)


async def slow_readers(it: Bench, seconds: float) -> Attempts:
    """What comes when they read at last: it ends early, because the connection was broken off."""
    asked = 40 * b"GET /openapi.json HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    found = [await Raw.open(it.port, ahead=4_096) for _ in range(200)]
    await asyncio.gather(*(each.send([asked]) for each in found))
    await asyncio.sleep(seconds - 5)
    answers = Counter([await _ended(each) for each in found])
    return Attempts(answers, requests=40 * len(found))


async def _ended(connection: Raw) -> str:
    """Whether the connection ends within 40 responses."""
    try:
        async with asyncio.timeout(20):
            read = 0
            while piece := await connection.reader.read(MIB):
                read += len(piece)
            return CLOSED
    except ConnectionError:
        return CLOSED
    except TimeoutError:
        return OPEN
    finally:
        connection.close()


async def idle_connections(it: Bench, seconds: float) -> Attempts:
    found = [await Raw.open(it.port) for _ in range(10_000)]
    await asyncio.sleep(seconds / 2)
    answers = Counter(CLOSED if each.reader.at_eof() else OPEN for each in found)
    for each in found:
        each.close()
    return Attempts(answers)


async def large_bodies(it: Bench, seconds: float) -> Attempts:
    """To routes for any client, for signed-in callers, and for requests without a token."""
    piece = b" " * MIB
    token = f"Authorization: Bearer {it.token}\r\n".encode()
    posts = POST.replace(b"/users", b"/posts")
    found: list[Iterable[bytes]] = []
    for head in (POST, posts + token, posts):
        found.append(chain([head + b"Content-Length: 104857600\r\n\r\n"], repeat(piece, 100)))
        chunk = b"100000\r\n" + piece + b"\r\n"
        found.append(
            chain([head + b"Transfer-Encoding: chunked\r\n\r\n"], repeat(chunk, 100), [b"0\r\n\r\n"])
        )
    return await _each(it, found, seconds)


def _zstd(size: int) -> bytes:
    """Zeros, by its format's blocks of one repeated byte."""
    block = ((128 * 1024) << 3 | 0b010).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (size // (128 * 1024))


async def bombs(it: Bench, seconds: float) -> Attempts:
    """The service undoes no coding. That of br is made up: no library here writes it."""
    zeros = bytes(100 * MIB)
    packed = {"gzip": gzip.compress(zeros), "deflate": zlib.compress(zeros), "zstd": _zstd(len(zeros))}
    packed["br"] = packed["deflate"]
    del zeros
    attempts = []
    for coding, body in list(packed.items()) * 20:
        head = POST + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        attempts.append([head, body])
    return await _each(it, attempts, seconds)


async def many_headers(it: Bench, seconds: float) -> Attempts:
    attempts = [
        [GET, b"a: b\r\n" * 100_000, b"\r\n"],
        [GET, b"X: " + b"y" * MIB, b"\r\n\r\n"],
        [b"GET /" + b"y" * MIB, b" HTTP/1.1\r\nHost: shop.example\r\n\r\n"],
    ]
    return await _each(it, attempts * 40, seconds)


async def held_heads(it: Bench, seconds: float) -> Attempts:
    found = [await Raw.open(it.port) for _ in range(200)]
    await asyncio.gather(*(each.send([GET + b"a:\r\n" * 15_000]) for each in found))
    answers = await asyncio.gather(*(each.status(seconds) for each in found))
    for each in found:
        each.close()
    return Attempts(Counter(answers))


async def worst_json(it: Bench, seconds: float) -> Attempts:
    kinds = bodies(127 * 1024).values()

    def attempts() -> Iterator[list[bytes]]:
        for body in chain.from_iterable(repeat(list(kinds), 4)):
            yield [request("POST", f"{V1}/users", {}, body)]

    return await _each(it, attempts(), seconds, at_once=2)


async def pipelines(it: Bench, seconds: float) -> Attempts:
    count, each = 20, 5_000
    asked = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

    async def ask() -> Counter[str]:
        connection = await Raw.open(it.port)
        sending = asyncio.create_task(connection.send(repeat(asked * 100, each // 100)))
        found: Counter[str] = Counter()
        until = asyncio.get_running_loop().time() + seconds
        while found.total() < each and asyncio.get_running_loop().time() < until:
            found[await connection.status()] += 1
            if found[CLOSED]:
                break
        sending.cancel()
        connection.close()
        return found

    answers: Counter[str] = Counter()
    for one in await asyncio.gather(*(ask() for _ in range(count))):
        answers += one
    return Attempts(answers, requests=count * each)


async def many_values(it: Bench, seconds: float) -> Attempts:
    path = f"{V1}/items/{it.shop.items[0]}"
    room = 60_000
    values = {
        "Range": "bytes=" + ",".join(f"{number}-{number}" for number in range(room // 12)),
        "If-None-Match": ", ".join(['"x"'] * (room // 5)),
        "Accept": ",".join(["a/b;q=0.1"] * (room // 10)),
        "If-Modified-Since": "x" * room,
    }
    attempts = [[request("GET", path, {name: value})] for name, value in values.items()]
    return await _each(it, attempts * 50, seconds)
