"""Build the image with buildah: no daemon, no rights beyond root's, the Dockerfile as it is.

    python tools/build_image.py [--target dev] [--tag tradepost:0.1.0] [--storage FOLDER] [--stand-in]

pip's configuration of this machine and its certificates are there while the image is built, and do not
stay in it. `--stand-in` is for machines that reach no registry of images: it makes an image that
resembles python:3.13-slim, of a minimal Debian and a CPython 3.13 of this machine (`--python`,
otherwise the first that pyenv or PATH have). What is built on it is to be tried, not released.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import bootstrap

ROOT = Path(__file__).resolve().parent.parent
BASE = "docker.io/library/python:3.13-slim"
#: As the base image: Debian 13, and the libraries that CPython's extension modules are linked to.
SUITE = "trixie"
LIBRARIES = (
    "ca-certificates", "libbz2-1.0", "libexpat1", "libffi8", "libgdbm6t64", "liblzma5", "libncursesw6",
    "libreadline8t64", "libsqlite3-0", "libssl3t64", "libuuid1", "netbase", "tzdata", "zlib1g",
)  # fmt: skip
MODULES = "bz2, ctypes, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Of the prefix the base image keeps no tests, no static library and no bytecode.
LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "__pycache__", "config-*", "*.a", "*.pyc")


def main() -> int:
    arguments = parser().parse_args()
    storage = arguments.storage.absolute()
    need("buildah", *(["debootstrap"] if arguments.stand_in else []))
    if arguments.stand_in and not exists(storage, BASE):
        make_stand_in(storage, python_prefix(arguments.python))
    build(storage, arguments.tag or f"tradepost:{version()}", arguments.target, pull=not arguments.stand_in)
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    found.add_argument("--target", help="a stage of the Dockerfile; the last one if not given")
    found.add_argument("--tag", help="tradepost:VERSION if not given")
    found.add_argument(
        "--storage", type=Path, default=ROOT / "build" / "images", help="where images are kept"
    )
    found.add_argument("--stand-in", action="store_true", help="make a base image instead of pulling it")
    found.add_argument("--python", type=Path, help="the prefix of a CPython 3.13, for the stand-in")
    return found


def need(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing:
        install = f"apt-get install --no-install-recommends {' '.join(missing)} runc"
        stop(f"there is no {' and no '.join(missing)}: {install}")


def search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def buildah(storage: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    where = ["--root", str(storage / "root"), "--runroot", str(storage / "run")]
    return run("buildah", *where, *arguments, **options)


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PATH": search_path()}
    done = subprocess.run(command, text=True, check=False, env=env, **options)
    if done.returncode:
        stop(f"this failed with status {done.returncode}: {' '.join(command)}")
    return done


def exists(storage: Path, image: str) -> bool:
    listed = buildah(storage, "images", "--format", "{{.Name}}:{{.Tag}}", stdout=subprocess.PIPE).stdout
    return image in listed.split()


def version() -> str:
    text = (ROOT / "service" / "__init__.py").read_text()
    found = re.search(r'__version__ = "(.+)"', text)
    if found is None:
        stop("service/__init__.py has no __version__")
    return found.group(1)


def revision() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def build(storage: Path, tag: str, target: str | None, *, pull: bool) -> None:
    facts = {
        "VERSION": version(),
        "REVISION": revision(),
        "CREATED": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    command = ["bud", "--isolation=chroot", "--network=host", "--layers", f"--tag={tag}"]
    command += ["--pull-never"] if not pull else ["--pull"]
    command += [f"--build-arg={name}={value}" for name, value in facts.items()]
    command += [f"--target={target}"] if target else []
    with machine() as volumes:
        command += [f"--volume={source}:{place}:ro" for source, place in volumes]
        buildah(storage, *command, f"--file={ROOT / 'Dockerfile'}", str(ROOT))


@contextmanager
def machine() -> Iterator[list[tuple[Path, Path]]]:
    """What pip needs to know of this machine: its settings as one file, the folders and files they name."""
    settings = bootstrap.pip_settings()
    volumes = [(CERTIFICATES, CERTIFICATES)] if CERTIFICATES.exists() else []
    for word in " ".join(settings.values()).split():
        place = Path(word.removeprefix("file://"))
        if word.startswith("file://") and len(place.parts) > 2:
            place = place.parent  # an index may lie beside its files
        if place.is_absolute() and place.exists() and (place, place) not in volumes:
            volumes.append((place, place))
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "pip.conf")
        lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
        configuration.write_text("\n".join(["[global]", *lines, ""]))
        yield [*volumes, (configuration, Path("/etc/pip.conf"))]


def python_prefix(given: Path | None) -> Path:
    """The prefix of a CPython 3.13 that can be copied: one that holds its own library and pip."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [*pyenv.glob("versions/3.13.*"), *Path.home().glob(".local/share/uv/python/cpython-3.13.*")]
    candidates.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)], reverse=True)
    if found := shutil.which("python3.13"):
        candidates.append(Path(found).resolve().parents[1])
    needed = ("bin/python3.13", "lib/python3.13/site-packages/pip")
    usable = [
        path for path in ([given] if given else candidates) if all((path / one).exists() for one in needed)
    ]
    if not usable:
        stop("there is no CPython 3.13 with pip under it: name one with --python PREFIX")
    return usable[0]


def make_stand_in(storage: Path, prefix: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder(storage)) as place:
        system = Path(place, "system")
        run("debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", SUITE, str(system))
        copy_python(prefix, system / "usr" / "local")
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(system / cache)
            (system / cache / "partial").mkdir(parents=True)
        run("chroot", str(system), "/usr/local/bin/python3", "-c", f"import {MODULES}")
        container = buildah(storage, "from", "scratch", stdout=subprocess.PIPE).stdout.strip()
        buildah(storage, "add", "--quiet", container, str(system), "/", stdout=subprocess.DEVNULL)
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        buildah(
            storage,
            "config",
            "--env",
            f"PATH={path}",
            "--arch",
            architecture(),
            "--cmd",
            "python3",
            container,
        )
        buildah(storage, "commit", "--quiet", "--rm", container, BASE, stdout=subprocess.DEVNULL)


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def copy_python(prefix: Path, local: Path) -> None:
    """Interpreter, library and pip; scripts of a prefix name their old place, so only links are made anew."""
    library = local / "lib" / "python3.13"
    shutil.copytree(
        prefix / "lib/python3.13",
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns(*LEFT_OUT),
        dirs_exist_ok=True,
    )
    for source in (prefix / "lib/python3.13/site-packages").glob("pip*"):
        shutil.copytree(
            source, library / "site-packages" / source.name, ignore=shutil.ignore_patterns("*.pyc")
        )
    for shared in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(shared, local / "lib", follow_symlinks=False)
    shutil.copy2(prefix / "bin/python3.13", local / "bin/python3.13")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to("python3.13")
    run("chroot", str(local.parents[1]), "/sbin/ldconfig")


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def stop(what: str) -> NoReturn:
    sys.exit(f"build_image: {what}")


if __name__ == "__main__":
    sys.exit(main())
