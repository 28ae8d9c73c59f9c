"""A shop to measure with: who asks it, over raw connections, and what is in it. For bench/costs.py."""

import json
import socket
import sys
import urllib.parse
import urllib.request
from typing import Any

#: No more than a worker's pool keeps, or requests would wait for each other.
CONNECTIONS = 5
ADMIN, PASSWORD = "bench@tradepost.example", "correct-horse-1"
V1 = "/api/v1"


class Client:
    """Many connections, each with one request under way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._sockets = [
            socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)
        ]

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def ask(self, questions: list[bytes], status: bytes) -> None:
        for place in range(0, len(questions), CONNECTIONS):
            some = list(zip(self._sockets, questions[place : place + CONNECTIONS], strict=False))
            for connection, question in some:
                connection.sendall(question)
            for connection, _ in some:
                if not (answer := read(connection)).startswith(b"HTTP/1.1 " + status):
                    sys.exit(f"it answered {answer[-400:]!r}")


def read(connection: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return answer


def question(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop"] + ([f"Content-Length: {len(body)}"] if body else [])
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Shop:
    """An administrator, customers and items, made over the API."""

    def __init__(self, port: int, customers: int) -> None:
        self.url = f"http://127.0.0.1:{port}{V1}"
        self.admin = self.sign_in(ADMIN)
        self.items = [self._item(number) for number in range(64)]
        self.people = [self._customer(number) for number in range(customers)]

    def call(self, method: str, path: str, token: str = "", **body: Any) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def sign_in(self, email: str) -> str:
        with urllib.request.urlopen(self.url + "/auth/token", form(email), timeout=60) as answer:
            return str(json.loads(answer.read())["access_token"])

    def _item(self, number: int) -> int:
        text = f"Item {number}, which somebody has described in a sentence or two, as one does"
        item = self.call("POST", "/items", self.admin, name=text, price="12.50", stock=1_000_000)
        return int(item["id"])

    def _customer(self, number: int) -> str:
        email = f"customer{number}@tradepost.example"
        self.call("POST", "/users", email=email, password=PASSWORD, full_name="Maria Anders")
        return self.sign_in(email)


def form(email: str) -> bytes:
    return urllib.parse.urlencode(
        {"grant_type": "password", "username": email, "password": PASSWORD}
    ).encode()
