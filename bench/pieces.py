"""How long the largest legal requests hold an event loop in one piece, in CPU time.

    python bench/pieces.py

Starts PostgreSQL and the service by itself, and the same application once more, on asyncio's own loop and
with a clock around each callback. What a request costs in all is spread over many pieces: between them
others are served, so what counts is the longest. It prints a table, and fails where a piece takes longer
than 50 ms.
"""

import asyncio
import gc
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import uvicorn
from processes import free_port, wait_for
from timing import BIN, V1, settings

from service.main import create_app

GOAL_MS = 50.0
ADMIN, PASSWORD = "ada@shop.example", f"{uuid.uuid4().hex}1"
LONGEST = "/longest"
#: Each with its body's size near what is accepted.
ITEMS, TEXT, LINES, ORDERS, TRIES = 1_000, "Für den Sommer. " * 50, 100, 100, 5


def serve(port: int) -> None:
    """The application, and at LONGEST the longest piece since that was asked last."""
    longest, run = [0.0], asyncio.Handle._run  # noqa: SLF001 - the loop has no hook for it

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        longest[0] = max(longest[0], time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign] # noqa: SLF001
    app = create_app()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == LONGEST:
            seconds, longest[0] = longest[0], 0.0
            gc.collect()
            gc.freeze()  # as the server does after the start
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(seconds * 1000).encode()})
        else:
            await app(scope, receive, send)

    uvicorn.run(watched, host="127.0.0.1", port=port, loop="asyncio", log_level="error")


class Client:
    def __init__(self, port: int) -> None:
        self.port, self.headers = port, {"Content-Type": "application/x-www-form-urlencoded"}
        token = self.send("POST", "/auth/token", f"grant_type=password&username={ADMIN}&password={PASSWORD}")
        self.headers = {
            "Authorization": f"Bearer {json.loads(token)['access_token']}",
            "Content-Type": "application/json",
        }

    def send(self, method: str, path: str, content: str | None = None) -> bytes:
        """Raises RuntimeError for any answer but a success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        key = {"Idempotency-Key": str(uuid.uuid4())} if path in ("/orders", "/items/batch") else {}
        body = content.encode() if content is not None else None
        connection.request(method, path if path == LONGEST else V1 + path, body, self.headers | key)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {found[:300]!r}")
        return found

    def longest(self, method: str, path: str, contents: list[str | None]) -> float:
        pieces = []
        self.send("GET", LONGEST)
        for content in contents:
            self.send(method, path, content)
            pieces.append(float(self.send("GET", LONGEST)))
        return min(pieces)


def batch(number: int) -> str:
    item = {"name": "n" * 60, "description": TEXT, "category": "c", "price": "18.00", "stock": 1_000_000}
    items = [{**item, "sku": f"B{number}-{index}"} for index in range(ITEMS)]
    return json.dumps(items, ensure_ascii=False)


def report(client: Client) -> int:
    user_id = json.loads(client.send("GET", "/users/profile"))["id"]
    known = [item["id"] for item in json.loads(client.send("POST", "/items/batch", batch(0)))]
    lines = [{"product_id": item_id, "quantity": 1} for item_id in known[:LINES]]
    orders: list[str | None] = [json.dumps({"user_id": user_id, "lines": lines})] * ORDERS
    table = {
        f"POST /items/batch, {ITEMS} items, {len(batch(1).encode()) // 1024} KiB": (
            "POST",
            "/items/batch",
            [batch(number + 1) for number in range(TRIES)],
        ),
        f"POST /orders, {LINES} lines": ("POST", "/orders", orders),
        f"GET /orders?limit={ORDERS}, {LINES} lines each": ("GET", f"/orders?limit={ORDERS}", [None] * TRIES),
        f"GET /users/{{id}} with {ORDERS} orders": ("GET", f"/users/{user_id}", [None] * TRIES),
        "GET /users/profile/export with them": ("GET", "/users/profile/export", [None] * TRIES),
        "GET /items?limit=100": ("GET", "/items?limit=100", [None] * TRIES),
    }
    print(f"The longest piece in milliseconds of CPU, best of {TRIES}\n\n| request | ms |\n| --- | ---: |")
    over = []
    for name, (method, path, contents) in table.items():
        piece = client.longest(method, path, contents)
        print(f"| {name} | {piece:.1f} |", flush=True)
        if piece > GOAL_MS:
            over.append(name)
    print("\n" + (f"Over {GOAL_MS:.0f} ms: {'; '.join(over)}" if over else f"None takes {GOAL_MS:.0f} ms."))
    return 1 if over else 0


def main() -> int:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port = free_port()
        limits = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD, "RATE_LIMIT_DEFAULT": "100000/minute"}
        environment = settings(port, folder) | {"WEB_CONCURRENCY": "1", **limits}
        with (Path(folder) / "log").open("wb") as log:
            service = subprocess.Popen([f"{BIN}/tradepost", "serve"], env=environment, stdout=log)
            try:
                wait_for(service, port)
                watched = free_port()
                command = [sys.executable, __file__, str(watched)]
                with subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
                    try:
                        wait_for(process, watched)
                        return report(Client(watched))
                    finally:
                        process.kill()
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(60)


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])) if len(sys.argv) > 1 else main())
