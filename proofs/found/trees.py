"""Older commits, each with the environment that its own lock asks for."""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from proofs.found.record import ROOT


class Unavailable(Exception):
    """The commit is not in this clone, or its environment cannot be made here."""


def git(*arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


class Trees:
    """Worktrees in a temporary folder, one for each lock, so that an environment is made once for all commits
    that share it. Everything is removed at the end.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tradepost-found-"))
        self._folder.chmod(0o755)  # where this is root, tests run PostgreSQL under another account
        self._trees: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tree in self._trees.values():
            subprocess.run(
                ["git", "worktree", "remove", "--force", str(tree)],
                cwd=ROOT,
                capture_output=True,
                check=False,
            )
        shutil.rmtree(self._folder, ignore_errors=True)
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, capture_output=True, check=False)

    def at(self, code: str, tests: str) -> Path:
        """The code of one commit with the tests of another, ready to run."""
        code, tests = git("rev-parse", f"{code}^{{commit}}"), git("rev-parse", f"{tests}^{{commit}}")
        tree = self._tree(code)
        git("checkout", "-q", "--force", "--detach", code, folder=tree)
        git("clean", "-fdq", folder=tree)
        if not (tree / ".venv" / "bin" / "pytest").exists():
            _make_environment(tree)
        if tests != code:
            git("rm", "-rq", "--cached", "tests", folder=tree)
            shutil.rmtree(tree / "tests")
            git("checkout", "-q", tests, "--", "tests", folder=tree)
        return tree

    def _tree(self, code: str) -> Path:
        what = git("ls-tree", code, "requirements-dev.lock", "tools/bootstrap.py", "tools/helm.py")
        name = hashlib.sha256(what.encode()).hexdigest()[:12]
        if name not in self._trees:
            self._trees[name] = self._folder / name
            git("worktree", "add", "-q", "--detach", str(self._trees[name]), code)
        return self._trees[name]


def _make_environment(tree: Path) -> None:
    """By the commit's own `make setup`, whatever that was in its time."""
    status, output = run(["make", "-s", "setup"], tree, seconds=600)
    if status:
        raise Unavailable(f"make setup: {output[-300:]}")


def run(command: list[str], folder: Path, seconds: float, **variables: str) -> tuple[int, str]:
    """Status and output; a command that takes longer is ended with all that it has started."""
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(os.environ) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            output, _ = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
        return 124, output
    return child.returncode, output


def _environment(present: Mapping[str, str]) -> dict[str, str]:
    """Nothing that leads an older commit to the environment of this one, or to a make that started it."""
    leading = (
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "PYTEST_ADDOPTS",
        "T",
        "FAULT",
    )
    return {
        name: value
        for name, value in present.items()
        if name not in leading and not name.startswith(("GIT_", "PYTEST_"))
    }
