"""Where the text of the settings comes from: variables, mounted files and, in development, `.env`.

What cannot be read goes into `faults`, by the name of its setting: the caller reports all of them
together. No message shows a path, which is a value like any other.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic_settings import BaseSettings, DotEnvSettingsSource


def collect(
    settings: type[BaseSettings], environ: Mapping[str, str], env_file: Path | None, faults: dict[str, str]
) -> dict[str, str]:
    """The text of each setting from the source that wins.

    That is the environment, then a file that NAME_FILE names there, then a file in SECRETS_DIR,
    then `env_file`, which is read in development only.
    """
    names = tuple(settings.model_fields)
    outer = _layer(names, environ, faults)
    mounted = _mounted(names, outer.get("secrets_dir"), faults)
    if env_file is None or _environment(mounted | outer) != "development":
        return mounted | outer
    local = _layer(names, _variables(settings, env_file, faults), faults)
    if _environment(local) != "development":
        faults["environment"] = "is set in .env, which is for development only; set it in the environment"
    if "secrets_dir" not in outer:
        mounted = _mounted(names, local.get("secrets_dir"), faults)
    return local | mounted | outer


def kept_key(folder: Path, key: str) -> str:
    """The key kept in `folder`; where there is none yet, `key` becomes it.

    Of several processes that start at once one keeps its key and all return that one: a hard link
    appears with its whole content or not at all, and never replaces another's.

    Raises:
        OSError, ValueError: the folder cannot be written, or the file is not text.
    """
    path = folder / "secret-key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".secret-key-") as draft:  # mode 0600
            draft.write(key)
            draft.flush()
            with suppress(FileExistsError):
                os.link(draft.name, path)
    return _text(path)


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be used, without its path, which the error's own text would show."""
    return getattr(error, "strerror", None) or "not UTF-8 text"


def _environment(values: Mapping[str, str]) -> str:
    return values.get("environment", "development")


def _layer(
    names: Iterable[str], variables: Mapping[str, str | None], faults: dict[str, str]
) -> dict[str, str]:
    """What NAME and NAME_FILE say in one set of variables. Empty means not set."""
    values: dict[str, str] = {}
    for name in names:
        value, file = variables.get(name.upper()), variables.get(f"{name.upper()}_FILE")
        if value and file:
            faults[name] = f"is set twice, directly and as {name.upper()}_FILE; remove one of them"
        elif file:
            value = _read(Path(file), name, f"{name.upper()}_FILE", faults)
        if value:
            values[name] = value
    return values


def _mounted(names: Iterable[str], folder: str | None, faults: dict[str, str]) -> dict[str, str]:
    """What files in SECRETS_DIR say, named like the setting in capitals or in small letters."""
    values: dict[str, str] = {}
    if not folder:
        return values
    try:
        present = {path.name: path for path in Path(folder).iterdir() if not path.is_dir()}
    except OSError as error:
        faults["secrets_dir"] = f"is not a readable folder ({reason(error)}); correct the path or permissions"
        return values
    for name in names:
        for path in filter(None, (present.get(name.upper()), present.get(name))):
            values.setdefault(name, _read(path, name, "SECRETS_DIR", faults))
    return {name: value for name, value in values.items() if value}


def _variables(settings: type[BaseSettings], path: Path, faults: dict[str, str]) -> dict[str, str | None]:
    try:
        found = DotEnvSettingsSource(settings, env_file=path, env_file_encoding="utf-8").env_vars
    except (OSError, ValueError) as error:
        faults[".env"] = f"cannot be read ({reason(error)}); correct or remove it"
        return {}
    return {name.upper(): value for name, value in found.items()}


def _read(path: Path, name: str, source: str, faults: dict[str, str]) -> str:
    try:
        return _text(path)
    except (OSError, ValueError) as error:
        faults[name] = f"cannot be read from {source} ({reason(error)}); correct the path or permissions"
        return ""


def _text(path: Path) -> str:
    """A file's content without the newline that editors and `echo` put at its end."""
    return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
