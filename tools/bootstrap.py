"""Make .venv from the lock file, or run uv as this machine is set up.

    python3 tools/bootstrap.py                  the environment, from requirements-dev.lock
    python3 tools/bootstrap.py uv ARGUMENT...   uv itself, of the version that the lock pins

Only the standard library is used, and nothing newer than Python 3.6 understands: this file must
still be able to say that an interpreter is too old.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
LOCK = ROOT / "requirements-dev.lock"
OLDEST = (3, 11)

# pip's name for a setting, uv's, and the other names under which uv would take it already.
SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    ("extra-index-url", "UV_INDEX", ("UV_EXTRA_INDEX_URL",)),
    ("find-links", "UV_FIND_LINKS", ()),
    ("no-index", "UV_NO_INDEX", ()),
    ("trusted-host", "UV_INSECURE_HOST", ()),
    ("cert", "SSL_CERT_FILE", ()),
    ("client-cert", "SSL_CLIENT_CERT", ()),
    ("proxy", "ALL_PROXY", ("HTTPS_PROXY", "https_proxy", "all_proxy")),
    ("timeout", "UV_HTTP_TIMEOUT", ()),
)


def main():
    if sys.argv[1:2] == ["uv"]:
        os.execve(str(UV), [str(UV), *sys.argv[2:]], environment())
    check_interpreter()
    make_venv()
    install_uv()
    sync()


def check_interpreter():
    version = "{}.{}.{}".format(*sys.version_info[:3])
    if sys.version_info < OLDEST:
        stop(
            "Python {} ({}) is too old: {}.{} or newer is needed.".format(version, sys.executable, *OLDEST),
            "If there is a newer one under another name, say so: make PYTHON=python3.12 ...",
        )
    try:
        import ensurepip  # noqa: F401, PLC0415
        import venv  # noqa: F401, PLC0415
    except ImportError:
        stop(
            f"Python {version} ({sys.executable}) cannot make virtual environments:",
            "its venv or ensurepip module is missing.",
            "On Debian and Ubuntu this helps: apt-get install python3-venv",
        )


def make_venv():
    """Keep an environment that works; make one in the place of one that does not."""
    probe = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
    if not (PYTHON.exists() and succeeds([str(PYTHON), "-c", probe])):
        say(f"making {VENV.relative_to(ROOT)}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if not has_pip():
        run([str(PYTHON), "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)


def install_uv():
    """With pip, checked by hash like everything else."""
    pinned = re.search(r"^uv==(\S+).*(?:\n +--hash=.*)+", LOCK.read_text(), re.MULTILINE)
    if not pinned:
        stop(f"{LOCK.name} pins no uv.")
    if UV.exists() and installed_uv() == pinned.group(1):
        return
    say(f"installing uv {pinned.group(1)}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(pinned.group(0) + "\n")
        requirement.flush()
        pip("install", "--require-hashes", "--no-deps", "-r", requirement.name)


def sync():
    """What the lock lists and nothing else, then the project itself in place."""
    say(f"installing what {LOCK.name} lists")
    env = environment()
    # Compiled now rather than at the first start, or at every start where Python may not write.
    install = [str(UV), "pip", "sync", "-q", "--require-hashes", "--compile-bytecode", str(LOCK)]
    if not succeeds(install, env=env):
        say("uv could not; trying pip")
        pip("install", "--require-hashes", "--no-deps", "-r", str(LOCK))
    run([str(UV), "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], env=env)


def environment():
    """This environment, with pip's configuration passed to uv where uv has none of its own."""
    env = dict(os.environ)
    ours = pip_settings()
    for name, variable, others in SETTINGS:
        value = ours.get(name)
        if value and not any(env.get(each) for each in (variable, *others)):
            separator = "," if variable == "UV_FIND_LINKS" else " "
            env[variable] = separator.join(value.split())
    if env.get("UV_INDEX") or env.get("UV_EXTRA_INDEX_URL"):
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # what pip does; the hashes guard it
    if not writable(cache_folder(env)):
        env.setdefault("UV_NO_CACHE", "1")
    env.pop("UV_SYSTEM_PYTHON", None)
    env["VIRTUAL_ENV"] = str(VENV)
    env["UV_PYTHON_DOWNLOADS"] = "never"
    return env


def cache_folder(env):
    if env.get("UV_CACHE_DIR"):
        return Path(env["UV_CACHE_DIR"])
    return Path(env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "uv"  # noqa: PTH111


def writable(folder):
    """Whether it, or what exists of the path to it, can be written to."""
    while not os.path.exists(str(folder)):  # noqa: PTH110 - Path's own fails where it may not look
        folder = folder.parent
    return os.access(str(folder), os.W_OK)


def pip_settings():
    """What pip's configuration files and variables say, in pip's order of precedence."""
    # uv has removed pip from the environment that may be running this.
    python = PYTHON if has_pip() else getattr(sys, "_base_executable", sys.executable)
    listing = subprocess.run(
        [str(python), "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
        check=False,
    ).stdout
    found = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", listing, re.MULTILINE):
            try:
                found[name.replace("default-", "")] = str(ast.literal_eval(value))
            except (SyntaxError, ValueError):
                continue
    return found


def has_pip():
    return succeeds([str(PYTHON), "-c", "import pip"], stderr=subprocess.DEVNULL)


def installed_uv():
    version = subprocess.run(
        [str(UV), "--version"], stdout=subprocess.PIPE, universal_newlines=True, check=False
    )
    return ([*version.stdout.split(), "", ""])[1]


def pip(*arguments):
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    run(command, env=dict(os.environ, PIP_USER="0"))


def run(command, **options):
    if not succeeds(command, **options):
        stop("this failed: {}".format(" ".join(command)))


def succeeds(command, **options):
    return subprocess.run(command, cwd=str(ROOT), check=False, **options).returncode == 0


def say(what):
    print(f"setup: {what}", file=sys.stderr, flush=True)


def stop(*lines):
    sys.exit("\n".join(f"setup: {line}" for line in lines))


if __name__ == "__main__":
    main()
