"""A shop to measure with: who asks it, over raw connections, and what is in it. For the benches."""

import json
import socket
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

#: No more than a worker's pool keeps, or requests would wait for each other.
CONNECTIONS = 5
ADMIN, PASSWORD = "bench@tradepost.example", "correct-horse-1"
V1 = "/api/v1"
#: Access tokens last ten minutes; on a slow machine everything takes longer than that.
SIGN_IN_SECONDS = 240


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

    def ask(self, questions: list[bytes], status: bytes) -> list[bytes]:
        """The bodies of the answers, each of which must have this status."""
        bodies = []
        for place in range(0, len(questions), CONNECTIONS):
            some = list(zip(self._sockets, questions[place : place + CONNECTIONS], strict=False))
            for connection, question in some:
                connection.sendall(question)
            for connection, _ in some:
                if not (answer := read(connection)).startswith(b"HTTP/1.1 " + status):
                    sys.exit(f"it answered {answer[-400:]!r}, not {status.decode()}")
                bodies.append(answer.partition(b"\r\n\r\n")[2])
        return bodies


def read(connection: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += received(connection)
    return head + b"\r\n\r\n" + body


def received(connection: socket.socket) -> bytes:
    """More of an answer. A connection that is closed would give nothing for ever."""
    return connection.recv(65_536) or sys.exit("it closed the connection before its answer was complete")


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
        #: Their access tokens.
        self.people = [self._customer(number) for number in range(customers)]
        self._signed_in = time.monotonic()

    def settle(self, orders: list[bytes]) -> None:
        """Have these orders paid, as a shop's are: what a customer may leave unpaid is bounded."""
        for order in orders:
            paid = self.call("POST", f"/orders/{json.loads(order)['id']}/pay", self.admin, reference="bench")
            if paid["status"] != "paid":
                sys.exit(f"an order is {paid['status']} after it was paid")

    def stay_signed_in(self, client: Client) -> None:
        """Sign all in again in time, and show each token once: its first use costs more than is measured."""
        if time.monotonic() - self._signed_in > SIGN_IN_SECONDS:
            self.admin = self.sign_in(ADMIN)
            self.people[:] = [self.sign_in(customer(number)) for number in range(len(self.people))]
            shown = [f"Bearer {token}" for token in self.people]
            client.ask([question("GET", f"{V1}/users/profile", Authorization=each) for each in shown], b"200")
            self._signed_in = time.monotonic()

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
        text = f"Item {number}, which is described in a sentence or two, as usual in a shop"
        item = self.call("POST", "/items", self.admin, name=text, price="12.50", stock=1_000_000)
        return int(item["id"])

    def _customer(self, number: int) -> str:
        self.call("POST", "/users", email=customer(number), password=PASSWORD, full_name="Maria Anders")
        return self.sign_in(customer(number))


def customer(number: int) -> str:
    return f"customer{number}@tradepost.example"


def form(email: str) -> bytes:
    return urllib.parse.urlencode(
        {"grant_type": "password", "username": email, "password": PASSWORD}
    ).encode()
