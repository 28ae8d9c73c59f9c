"""Does the time of a response reveal whether an account exists? Measure it against a service started for it.

    python bench/timing.py [N]

N tries of each case (200), one at a time and in random order, so that whatever else the machine does hits
all of them alike. Rate limits are off, and with them the slow-down of failed sign-ins.
"""

import http.client
import json
import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from processes import free_port, wait_for

BIN = Path(sys.executable).parent
V1 = "/api/v1"
KNOWN, PASSWORD = "maria@shop.example", "correct-horse-1"
WARM_UP = 20
#: What follows an answer (a mail, say) must be over before the next question.
PAUSE_SECONDS = 0.05
GOAL_PERCENT = 5.0
LIMITS = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
#: What must not differ from the first. The second is the first once more: so much differs by chance.
AREAS = {
    "sign in": ("unknown account", "unknown again", "wrong password"),
    "reset": ("unknown address", "unknown again", "known address"),
}


class Shop:
    """One connection to the service."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: str, media: str, expected: int) -> float:
        """How long the answer took, in milliseconds."""
        began = time.perf_counter()
        self.connection.request("POST", V1 + path, body, {"Content-Type": media})
        answer = self.connection.getresponse()
        content = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != expected:
            sys.exit(f"POST {path} answered {answer.status}: {content.decode()[:300]}")
        return took

    def sign_in(self, email: str, password: str) -> float:
        form = urlencode({"grant_type": "password", "username": email, "password": password})
        return self.post("/auth/token", form, "application/x-www-form-urlencoded", 400)

    def reset(self, email: str) -> float:
        return self.post("/auth/password-reset", json.dumps({"email": email}), "application/json", 202)

    def register(self) -> None:
        body = json.dumps({"email": KNOWN, "password": PASSWORD, "full_name": "Maria Anders"})
        self.post("/users", body, "application/json", 201)


def main() -> int:
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port = free_port()
        log = (Path(folder) / "log").open("wb")
        service = subprocess.Popen([f"{BIN}/tradepost", "serve"], env=settings(port, folder), stdout=log)
        try:
            wait_for(service, port)
            shop = Shop(port)
            shop.register()
            report(measured(shop, tries), tries)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
            log.close()
    return 0


def cases(shop: Shop) -> dict[tuple[str, str], Callable[[], float]]:
    def unknown_address() -> str:
        # As long as the known one, and never the same.
        return f"{secrets.token_hex(3)[:5]}@shop.example"

    return {
        ("sign in", "unknown account"): lambda: shop.sign_in(unknown_address(), "wrong-horse-1"),
        ("sign in", "unknown again"): lambda: shop.sign_in(unknown_address(), "wrong-horse-1"),
        ("sign in", "wrong password"): lambda: shop.sign_in(KNOWN, "wrong-horse-1"),
        ("reset", "unknown address"): lambda: shop.reset(unknown_address()),
        ("reset", "unknown again"): lambda: shop.reset(unknown_address()),
        ("reset", "known address"): lambda: shop.reset(KNOWN),
    }


def measured(shop: Shop, tries: int) -> dict[tuple[str, str], list[float]]:
    asked = cases(shop)
    took: dict[tuple[str, str], list[float]] = {name: [] for name in asked}
    for number in range(-WARM_UP, tries):
        for name in random.sample(list(asked), len(asked)):
            milliseconds = asked[name]()
            if number >= 0:
                took[name].append(milliseconds)
            time.sleep(PAUSE_SECONDS)
    return took


def report(took: dict[tuple[str, str], list[float]], tries: int) -> None:
    print(f"{tries} tries each, milliseconds")
    print(f"{'':26}{'25 %':>8}{'median':>8}{'75 %':>8}{'differs':>9}")
    for area, names in AREAS.items():
        base = statistics.median(took[area, names[0]])
        for name in names:
            low, middle, high = statistics.quantiles(took[area, name], n=4)
            differs = (middle / base - 1) * 100
            remark = "" if abs(differs) < GOAL_PERCENT else f"  over {GOAL_PERCENT:.0f} %"
            shown = "" if name == names[0] else f"{differs:+8.1f}%{remark}"
            print(f"{area + ': ' + name:26}{low:8.2f}{middle:8.2f}{high:8.2f}{shown}")


def settings(port: int, folder: str) -> dict[str, str]:
    ours = {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": str(port),
        "METRICS_PORT": str(free_port()), "DATA_DIR": folder, "SAMPLE": "0", "WEB_CONCURRENCY": "1",
    }  # fmt: skip
    return os.environ | ours | {f"RATE_LIMIT_{each}": "1000000/second" for each in LIMITS}


if __name__ == "__main__":
    sys.exit(main())
