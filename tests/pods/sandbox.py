"""Runs a container of the chart as a cluster would, as far as a machine without one can.

Its process is the first of its process namespace, has the rendered user, no capability and no way to get one,
the rendered environment and nothing of the machine's, a root that cannot be written but for the emptyDirs,
and a network in which there are only the database and what leads to it from outside.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.pods.rendered import NAMESPACE, RELEASE, Container
from tests.server.process import REPOSITORY

#: By the package of Debian and Ubuntu that has it.
PROGRAMS: Final = {"bwrap": "bubblewrap", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
#: A cluster's network is made by root; any other user becomes root of their own network.
ROOT: Final = os.geteuid() == 0
DATABASE_HOST: Final = "database.example"
SERVICE: Final = f"{RELEASE}-tradepost.{NAMESPACE}"
#: What a kubelet adds to what is rendered.
OF_THE_CLUSTER: Final = {"HOSTNAME": RELEASE, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
#: Beside /usr: what the image has too.
OF_THE_SYSTEM: Final = (
    *(
        f"/etc/{name}"
        for name in ("group", "ld.so.cache", "localtime", "mime.types", "nsswitch.conf", "passwd")
    ),
    "/etc/ssl",
)
HTTP_PORT: Final = 8000
METRICS_PORT: Final = 9090
_DOCKERFILE: Final = re.sub(r"\\\n\s*", " ", (REPOSITORY / "Dockerfile").read_text())


def need_programs() -> None:
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    assert not missing, f"missing: apt-get install {' '.join(missing)}"


def entrypoint() -> list[str]:
    """The image's, of its last stage."""
    found: list[str] = json.loads(re.findall(r"^ENTRYPOINT (.+)$", _DOCKERFILE, re.MULTILINE)[-1])
    return found


def environment_of_the_image() -> dict[str, str]:
    """As its Dockerfile sets it, but for where the image keeps programs and their bytecode."""
    pairs = [
        pair for line in re.findall(r"^ENV (.+)$", _DOCKERFILE, re.MULTILINE) for pair in shlex.split(line)
    ]
    found = dict(pair.split("=", 1) for pair in pairs)
    del found["PYTHONPYCACHEPREFIX"]
    return found | {"PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True)
class Network:
    """Of one pod, and of those that need its Service; `pid` is of a process in it."""

    pid: int
    folder: Path


@dataclass
class Running:
    """A container that was started; `process` is the sandbox around it, `pid` its first process."""

    process: subprocess.Popen[bytes]
    pid: int
    output: Path

    @property
    def stdout(self) -> str:
        return self.output.with_suffix(".out").read_text()

    @property
    def stderr(self) -> str:
        return self.output.with_suffix(".err").read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.rpartition("\n")[0].splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def ended(self, within: float = PATIENCE_SECONDS) -> int:
        """The exit status of its first process."""
        return self.process.wait(within)


@dataclass
class Pod:
    """Folders for the emptyDirs, which outlive a container, and sockets that lead to its ports."""

    container: Container
    network: Network
    folder: Path = field(init=False)
    _runs: list[Running] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.container.name}-", dir=self.network.folder))
        self.folder.chmod(0o755)
        for path in self.container.folders:
            self._make(self.place(path), 0o2777)
        for path, content in self.container.secrets.items():
            file = self.folder / "secrets" / path.relative_to("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o440)
            if ROOT:
                os.chown(file, 0, self.container.group)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost {DATABASE_HOST} {SERVICE}\n")

    def _make(self, folder: Path, mode: int) -> None:
        folder.mkdir(parents=True)
        if ROOT:
            os.chown(folder, 0, self.container.group)
        folder.chmod(mode)

    def place(self, path: Path) -> Path:
        """Where a folder of the container's is on this machine."""
        return self.folder / "volumes" / path.relative_to("/")

    def written(self) -> dict[str, list[str]]:
        """The names of the files in each emptyDir, but for where this checkout had to be mounted into it."""
        return {
            str(path): sorted(
                str(file.relative_to(self.place(path)))
                for file in self.place(path).rglob("*")
                if not REPOSITORY.is_relative_to(path / file.relative_to(self.place(path)))
                and not (path / file.relative_to(self.place(path))).is_relative_to(REPOSITORY)
            )
            for path in self.container.folders
        }

    @contextmanager
    def client(self, port: int, timeout: float = 10) -> Iterator[httpx2.Client]:
        transport = httpx2.HTTPTransport(uds=str(self.network.folder / f"{port}.sock"))
        with httpx2.Client(transport=transport, base_url="http://pod", timeout=timeout) as client:
            yield client

    def probed(self, kind: str) -> int:
        """The status that a kubelet would see, or 0."""
        probe = self.container.probes[kind]
        try:
            with self.client(probe.port, probe.timeout) as client:
                return client.get(probe.path).status_code
        except httpx2.TransportError:
            return 0

    def wait_for(self, kind: str, running: Running) -> None:
        def passed() -> bool:
            assert running.process.poll() is None, running.stdout + running.stderr
            return self.probed(kind) == 200

        wait_until(passed)

    def run(self, *command: str) -> Running:
        """The container's own command, or another in its place."""
        own = [*(self.container.command or entrypoint()), *self.container.args]
        output = self.folder / f"output-{len(self._runs) + 1}"
        read, write = os.pipe()
        with (
            output.with_suffix(".out").open("wb") as stdout,
            output.with_suffix(".err").open("wb") as stderr,
            os.fdopen(read) as told,
        ):
            process = subprocess.Popen(
                [*self._sandbox(write), *(command or own)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[write],
                start_new_session=True,
            )
            os.close(write)
            content = told.read()
        assert content, output.with_suffix(".err").read_text()
        self._runs.append(Running(process, int(json.loads(content)["child-pid"]), output))
        return self._runs[-1]

    def end(self) -> None:
        """Kill whatever still runs in it."""
        for running in self._runs:
            if running.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)
                running.process.wait()

    def asked_to_stop(self, running: Running) -> None:
        """As a kubelet does it: the hook, until it has ended, and then the signal."""
        if self.container.pre_stop is not None:
            hook = self.run(*self.container.pre_stop)
            assert hook.ended() == 0, hook.stderr
        os.kill(running.pid, signal.SIGTERM)

    def _sandbox(self, told: int) -> list[str]:
        container = self.container
        assert container.read_only
        user = ["--user", "--preserve-credentials"] if not ROOT else []
        options = [f"--target={self.network.pid}", "--net", *user, "--", "bwrap", "--info-fd", str(told)]
        options += ["--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts", "--clearenv"]
        environment = {**OF_THE_CLUSTER, **environment_of_the_image(), **container.environment}
        for name, value in environment.items():
            options += ["--setenv", name, value]
        return ["nsenter", *options, *self._files(), *_user(container)]

    def _files(self) -> list[str]:
        """Nothing that the image would not have, under the names that it has here."""
        options = ["--proc", "/proc", "--dev", "/dev"]
        for path in self.container.folders:
            options += [*_parents(path), "--bind", str(self.place(path)), str(path)]
        options += ["--ro-bind", "/usr", "/usr"]
        for path in map(Path, OF_THE_SYSTEM):
            options += [*_parents(path), "--ro-bind-try", str(path), str(path)]
        for name in ("/bin", "/lib", "/lib64"):
            path = Path(name)
            if path.is_symlink():
                options += ["--symlink", str(path.readlink()), name]
            elif path.exists():
                options += ["--ro-bind", name, name]
        for path in {Path(sys.base_prefix), Path(sys.prefix), REPOSITORY / "service"}:
            options += [*_parents(path), "--ro-bind", str(path), str(path)]
        for path in {file.parent for file in self.container.secrets}:
            kept = self.folder / "secrets" / path.relative_to("/")
            options += [*_parents(path), "--ro-bind", str(kept), str(path)]
        options += ["--ro-bind", str(self.folder / "hosts"), "/etc/hosts"]
        return [*options, "--remount-ro", "/", "--chdir", "/"]


def _parents(path: Path) -> list[str]:
    """Made by bubblewrap itself they would be closed to others."""
    return [
        option
        for parent in reversed(path.parents[:-1])
        for option in ("--perms", "0755", "--dir", str(parent))
    ]


def _user(container: Container) -> list[str]:
    if not ROOT:
        numbers = ["--uid", str(container.user), "--gid", str(container.group)]
        return ["--unshare-user", *numbers, "--cap-drop", "ALL", "--", "setpriv", "--no-new-privs"]
    keep = [option for name in ("SETUID", "SETGID", "SETPCAP") for option in ("--cap-add", f"CAP_{name}")]
    numbers = [f"--reuid={container.user}", f"--regid={container.group}", "--clear-groups"]
    return [*keep, "--", "setpriv", *numbers, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def complaints(running: Running) -> list[object]:
    """Lines above information, and what did not go through the log.

    That the customer of the smoke test, who deletes the account, cannot be told of an order any more is
    nothing to complain about.
    """
    above = [line for line in running.lines() if line["level"] not in {"debug", "info"}]
    above = [line for line in above if line["event"] != "event.missed"]
    return [*above, *running.stderr.splitlines()]


@contextmanager
def pod(container: Container, network: Network) -> Iterator[Pod]:
    """Whatever runs in it in the end is killed."""
    made = Pod(container, network)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def _relaying(*command: str) -> Iterator[int]:
    process = subprocess.Popen(
        [*command], cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def network(database: str) -> Iterator[Network]:
    """One from which only this database can be reached, as DATABASE_HOST:5432, and the pod's Service."""
    server = urlsplit(database)
    relay = [sys.executable, "-m", "tests.helpers.relay"]
    apart = ["unshare", "--net", *([] if ROOT else ["--map-root-user"])]
    # The path of a socket may have a hundred letters, which a test's own folder would take up.
    with tempfile.TemporaryDirectory(prefix="pod-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        outside = f"unix:{folder}/database.sock=tcp:{server.hostname}:{server.port}"
        inside = [f"tcp:127.0.0.1:5432=unix:{folder}/database.sock"]
        inside += [f"tcp:127.0.0.1:80=tcp:127.0.0.1:{HTTP_PORT}"]
        inside += [f"unix:{folder}/{port}.sock=tcp:127.0.0.1:{port}" for port in (HTTP_PORT, METRICS_PORT)]
        stack.enter_context(_relaying(*relay, outside))
        yield Network(stack.enter_context(_relaying(*apart, *relay, "--up", *inside)), folder)
