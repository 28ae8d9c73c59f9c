"""The image under podman, as a pod would run it: built from the Dockerfile, in a storage of its own.

STAND_IN=1 in the environment makes a stand-in for the base image (tools/build_image.py), where no registry
of images can be reached. IMAGE_STORAGE names a folder to keep images in; otherwise they are removed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import REPOSITORY, free_port

IMAGE = "localhost/tradepost:test"
DEV = "localhost/tradepost:test-dev"
UID = 10001
MEMORY = 512 * 1024 * 1024
SECRETS = "/etc/tradepost/secrets"
#: What is writable in a pod: its emptyDirs, and nothing else.
WRITABLE = {"tmp": "/tmp", "metrics": "/run/tradepost/metrics", "drain": "/run/tradepost/drain"}
#: No capability, no other user's rights, a root that is read-only, little memory and few processes.
RESTRICTED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    f"--user={UID}",
    f"--memory={MEMORY}",
    f"--memory-swap={MEMORY}",
    "--pids-limit=256",
)
# The limits of this machine may be lower than podman's defaults, which it then could not set.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
INSTALL = "apt-get install --no-install-recommends buildah podman runc debootstrap"
_numbers = count(1)


@dataclass
class Container:
    """A running container: `process` is `podman run`, which ends with its exit status."""

    podman: "Podman"
    name: str
    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Every line of standard output; each must be a JSON object."""
        complete = self.stdout.rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as `kubectl exec` and the hooks of a pod would."""
        return self.podman("exec", self.name, *command)

    def kill(self, signal_: signal.Signals) -> None:
        assert self.podman("kill", f"--signal={signal_.name}", self.name).returncode == 0

    def ended(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


@dataclass
class Podman:
    storage: Path
    configuration: Path

    def command(self, *arguments: str) -> list[str]:
        where = ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        return ["podman", *where, *arguments]

    def environment(self) -> dict[str, str]:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return os.environ | {"PATH": path, "CONTAINERS_CONF": str(self.configuration)}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=5 * PATIENCE_SECONDS,
            env=self.environment(),
        )

    def inspect(self, image: str = IMAGE) -> dict[str, Any]:
        document: list[dict[str, Any]] = json.loads(self("image", "inspect", image).stdout)
        return document[0]

    def layers(self, image: str = IMAGE) -> list[tuple[int, str]]:
        """Size in bytes and instruction of each layer, the base's first."""
        history: list[dict[str, Any]] = json.loads(self("history", "--format=json", image).stdout)
        rows = [(int(layer["size"]), str(layer["CreatedBy"])) for layer in reversed(history)]
        return [
            (size, made.removeprefix("/bin/sh -c ").removeprefix("#(nop) ")) for size, made in rows if size
        ]

    def once(self, folder: Path, *command: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        options = options_of(folder, {}, {name: str(value) for name, value in settings.items()})
        return self("run", "--rm", *options, IMAGE, *command)

    def look(self, script: str) -> list[str]:
        """What a shell in the image says, and nothing on standard error."""
        answer = self("run", "--rm", *RESTRICTED, "--network=none", "--entrypoint=sh", IMAGE, "-c", script)
        assert answer.stderr == ""
        return answer.stdout.splitlines()

    @contextmanager
    def started(
        self,
        folder: Path,
        *command: str,
        secrets: dict[str, str],
        image: str = IMAGE,
        writable: bool = False,
        **settings: object,
    ) -> Iterator[Container]:
        """`writable` is the exception of skaffold's profile for development."""
        folder.mkdir(parents=True, exist_ok=True)
        name, port, metrics_port = f"tradepost-{os.getpid()}-{next(_numbers)}", free_port(), free_port()
        ports = {"PORT": port, "METRICS_PORT": metrics_port}
        options = options_of(folder, secrets, {key: str(text) for key, text in {**ports, **settings}.items()})
        if writable:
            options.remove("--read-only")
            options.remove("--read-only-tmpfs=false")
        line = self.command("run", "--rm", f"--name={name}", "--log-driver=none", *options, image, *command)
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=self.environment()
            )
        try:
            yield Container(self, name, process, port, metrics_port, folder)
        finally:
            self("rm", "--force", "--time=0", name)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)


def options_of(folder: Path, secrets: dict[str, str], settings: dict[str, str]) -> list[str]:
    """Only the emptyDirs are writable; secrets are files, everything else is environment."""
    options = [*RESTRICTED, "--network=host"]
    for name, place in WRITABLE.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o777)
        options.append(f"--volume={folder / name}:{place}")
    mounted = folder / "secrets"
    mounted.mkdir(exist_ok=True)
    for name, value in secrets.items():
        (mounted / name).write_text(value)
    options.append(f"--volume={mounted}:{SECRETS}:ro")
    environment = {"SECRETS_DIR": SECRETS, "DRAIN_FILE": f"{WRITABLE['drain']}/now", **settings}
    return options + [f"--env={name}={value}" for name, value in environment.items()]


def build(storage: Path, tag: str, *options: str) -> None:
    stand_in = ["--stand-in"] if os.environ.get("STAND_IN") else []
    command = [sys.executable, "tools/build_image.py", f"--storage={storage}", f"--tag={tag}", *stand_in]
    done = subprocess.run([*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    advice = "" if stand_in else "\nWhere no registry of images can be reached: STAND_IN=1 make test-image"
    assert done.returncode == 0, "\n".join([*done.stdout.splitlines()[-20:], done.stderr, advice])


@contextmanager
def built() -> Iterator[Podman]:
    """The image, in a storage that is removed afterwards."""
    missing = [name for name in ("buildah", "podman", "runc") if not shutil.which(name, path=_path())]
    assert not missing, f"there is no {', '.join(missing)}: {INSTALL}"
    assert os.geteuid() == 0, "images are built and run as root here"
    kept = os.environ.get("IMAGE_STORAGE")
    (REPOSITORY / "build").mkdir(exist_ok=True)
    storage = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="image-", dir=REPOSITORY / "build"))
    storage.mkdir(parents=True, exist_ok=True)
    configuration = storage / "containers.conf"
    configuration.write_text(CONFIGURATION)
    try:
        build(storage, IMAGE)
        yield Podman(storage, configuration)
    finally:
        if not kept:
            remove(storage)


def remove(storage: Path) -> None:
    """With what is mounted in it; a build that failed leaves its containers so."""
    places = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((each for each in places if each.is_relative_to(storage)), reverse=True):
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    shutil.rmtree(storage)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
