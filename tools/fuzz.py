"""Two kinds of made-up requests, each against a service and a database of its own.

    python tools/fuzz.py [SECONDS] [--steps STEPS]

For SECONDS schemathesis sends what the OpenAPI document admits and what it does not, with an
administrator's token, so that it gets past the door; schemathesis.toml says what counts as a fault.
Then STEPS steps of shopping are held against a model (tests/invariants).
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

BIN = Path(sys.executable).parent
EMAIL = "fuzz@tradepost.example"
#: Asks a service on the internet; and what never ends.
LEFT_OUT = r"/weather/|/stream$"
ROOT = Path(__file__).parents[1]
START_WITHIN = 180
TOKEN_LASTS = 540
PLENTY = "1000000/minute"
LIMITS = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")


def main() -> int:
    parser = argparse.ArgumentParser(description="Made-up requests.")
    parser.add_argument("seconds", nargs="?", type=int, default=300)
    parser.add_argument("--steps", type=int, default=10_000)
    arguments = parser.parse_args()
    faults = requests(min(arguments.seconds, TOKEN_LASTS)) if arguments.seconds else 0
    return shopping(arguments.steps) or faults if arguments.steps else faults


def shopping(steps: int) -> int:
    """The exit status; each run chooses other steps, unless FUZZ_SEED says where to begin."""
    command = [f"{BIN}/pytest", "-q", "-n", "0", "--show-capture=no", "tests/invariants"]
    return subprocess.run(
        command, check=False, cwd=ROOT, env=os.environ | {"FUZZ_STEPS": str(steps)}
    ).returncode


def requests(seconds: int) -> int:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        base, password = f"http://127.0.0.1:{free_port()}", secrets.token_urlsafe(24) + "1"
        service = subprocess.Popen([f"{BIN}/tradepost", "serve"], env=settings(base, folder, password))
        try:
            wait_for(base, service)
            command = [f"{BIN}/schemathesis", "--config-file", f"{ROOT}/schemathesis.toml"]
            command += ["run", f"{base}/openapi.json", "--max-time", str(seconds), "--continue-on-failure"]
            command += ["--header", f"Authorization: Bearer {token(base, password)}", "--workers", "2"]
            command += ["--exclude-path-regex", LEFT_OUT]
            return subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)


def settings(base: str, folder: str, password: str) -> dict[str, str]:
    ours = {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": base.rsplit(":", 1)[1],
        "METRICS_PORT": str(free_port()), "DATA_DIR": folder, "SAMPLE": "1", "WEB_CONCURRENCY": "2",
        "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": password, "LOG_LEVEL": "error",
    }  # fmt: skip
    limits = {f"RATE_LIMIT_{each}": PLENTY for each in LIMITS}
    return os.environ | ours | limits


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(base: str, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN
    while service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{base}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit("The service did not become ready.")


def token(base: str, password: str) -> str:
    form = urllib.parse.urlencode({"grant_type": "password", "username": EMAIL, "password": password})
    with urllib.request.urlopen(f"{base}/api/v1/auth/token", form.encode(), timeout=30) as answer:
        issued: str = json.load(answer)["access_token"]
        return issued


if __name__ == "__main__":
    sys.exit(main())
