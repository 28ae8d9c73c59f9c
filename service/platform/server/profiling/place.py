"""Where a process waits for `tradepost profile`: a socket under its id, in a folder of this user's alone."""

import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Another process that ends may remove the folder between its making and its use.
TRIES: Final = 5


def folder(port: int) -> Path:
    """Of the processes that share a PORT: those of a pod."""
    return Path(tempfile.gettempdir()) / f"tradepost-profile-{os.geteuid()}-{port}"


def place(port: int, pid: int) -> Path:
    return folder(port) / f"{pid}.sock"


def places(port: int) -> dict[int, Path]:
    """By process id. Raises PermissionError where the folder may be another user's, who would answer."""
    with suppress(FileNotFoundError):
        _require_own(folder(port))
    found = {int(path.stem): path for path in folder(port).glob("*.sock") if path.stem.isdecimal()}
    return dict(sorted(found.items()))


def bound(port: int, pid: int) -> socket.socket:
    """A socket at this process's place. Raises OSError."""
    path = place(port, pid)
    for _ in range(TRIES):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make(path.parent)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
        except FileNotFoundError:
            listener.close()
        except OSError:
            listener.close()
            raise
        else:
            return listener
    raise FileNotFoundError(f"{path.parent} is removed again and again")


def remove(port: int, pid: int) -> None:
    """The folder too, after the last process."""
    with suppress(OSError):
        _require_own(folder(port))
        place(port, pid).unlink(missing_ok=True)
        folder(port).rmdir()


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    _require_own(path)


def _require_own(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder of this user's alone")
