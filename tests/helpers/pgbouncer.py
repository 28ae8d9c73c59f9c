"""A real PgBouncer in transaction mode, which can be stopped and started again."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.helpers.waiting import wait_until
from tests.server.process import free_port


def program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, "pgbouncer is missing: apt-get install pgbouncer"
    return found


def version() -> tuple[int, ...]:
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found, said
    return tuple(map(int, found.groups()))


class PgBouncer:
    """Before the server of `url`, with so many connections to it. `address` is its host and port."""

    def __init__(self, folder: Path, url: str, *, servers: int, prepares: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self._log, self._file = folder / "pgbouncer.log", folder / "pgbouncer.ini"
        self._process: subprocess.Popen[bytes] | None = None
        server, port = urlsplit(url), free_port()
        self.address = f"127.0.0.1:{port}"
        target = (
            f"host={server.hostname} port={server.port} user={server.username} password={server.password}"
        )
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any",
            "pool_mode": "transaction", "default_pool_size": servers, "max_client_conn": 100,
        }  # fmt: skip
        if version() >= (1, 21):
            settings["max_prepared_statements"] = 200 if prepares else 0
        lines = ["[databases]", f"* = {target}", "[pgbouncer]", *(f"{k} = {v}" for k, v in settings.items())]
        self._file.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        # It refuses to run as root, and reads the file before it becomes another user.
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program(), *user, self._file], stdout=log, stderr=log)
        wait_until(lambda: "listening on" in self._log.read_text())

    def kill(self) -> None:
        """Does nothing where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
