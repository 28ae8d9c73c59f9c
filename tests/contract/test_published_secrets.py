"""Production accepts no key and no password that stands in the repository; here the repository is read."""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.errors import ConfigError
from service.platform.config import Settings, generate_key
from service.platform.config.secret_key_policy import PUBLISHED
from tests.contract.test_repository import ROOT, files

#: Locks have digests, pictures and fonts have anything.
NO_TEXT = {".lock", ".png", ".woff2", ".ico"}
LOCKS = {"package-lock.json"}
LONG = re.compile(r"(?<![\w+/=-])[\w+/-]{32,}={0,2}(?![\w+/=-])", re.ASCII)
HEXADECIMAL = re.compile(r"(0x)?([0-9a-f]{32,}|[0-9A-F]{32,})")
#: What stands before a digest; and what is a list of them, without one.
BEFORE_DIGEST = re.compile(r"(sha-?(256|512)\W{0,3}|checksum/\w+: |uses: \S+@)$")
DIGESTS = {"tools/custom_resources.py"}
#: A type of an operator written in Go, in tests/chart/schemas: its path and its version.
GO_TYPE = re.compile(r"(defs/)?ComGithub\w+V\d+((alpha|beta)\d+)?[A-Z][A-Za-z]+")
PASSWORD = re.compile(
    r"passw(?:or)?d[\"'\])]*\s*(?:[:=]|\s)\s*"
    r"(?:f?[\"']([^\"'\n{}$<]{8,128})[\"']|([^\s\"'`{}$<,;()\[\]]{8,128}))",
    re.IGNORECASE,
)
#: One a line, and all refused.
LISTS = {"service/platform/config/common_passwords.txt"}


def texts() -> Iterator[tuple[str, str]]:
    for file in files():
        if file.suffix not in NO_TEXT and file.name not in LOCKS:
            try:
                yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def could_be_a_key(text: str) -> bool:
    """Digits and letters of both cases, or hexadecimal: names and paths are none."""
    classes = ("[0-9].*[0-9].*[0-9]", "[a-z]", "[A-Z]")
    return bool(HEXADECIMAL.fullmatch(text)) or all(re.search(each, text) for each in classes)


def keys_in(text: str) -> set[str]:
    return {
        match[0]
        for match in LONG.finditer(text)
        if could_be_a_key(match[0])
        and not GO_TYPE.fullmatch(match[0])
        and not BEFORE_DIGEST.search(text[: match.start()][-100:])
    }


def passwords_in(text: str) -> set[str]:
    found = {match[1] or match[2].rstrip(".:") for match in PASSWORD.finditer(text)}
    return {each for each in found if re.search("[0-9]", each) and "/" not in each}


def refused(**secrets: object) -> set[str]:
    """The settings that production refuses of these."""
    given = {"secret_key": generate_key(), "database_url": "postgresql://u:p@h/d"} | secrets
    try:
        Settings(environment="production", **given)  # type: ignore[arg-type]
    except ConfigError as fault:
        return {line.partition(":")[0] for line in fault.faults}
    return set()


def test_no_key_of_the_repository_is_good_for_production() -> None:
    """One that is found here is taken out, or added to PUBLISHED in config/secret_key_policy.py."""
    found = {key: name for name, text in texts() if name not in DIGESTS for key in keys_in(text)}
    assert set(PUBLISHED[:3]) <= set(found)
    good = {
        key: name
        for key, name in found.items()
        if refused(secret_key=key, secret_keys_accepted=(key,)) != {"SECRET_KEY", "SECRET_KEYS_ACCEPTED"}
    }
    assert good == {}


def test_no_password_of_the_repository_is_good_for_an_administrator() -> None:
    """One that is found here is taken out, or added to PUBLISHED in config/password_policy.py.

    Those of single tests open nothing but a test's database; nobody copies them.
    """
    read = ((name, text) for name, text in texts() if name not in LISTS and not name.startswith("tests/"))
    found = {word: name for name, text in read for word in passwords_in(text)}
    assert {"Northwind1", "correct-horse-1"} <= set(found)
    good = {
        word: name
        for word, name in found.items()
        if refused(admin_email="ann@shop.example", admin_password=word) != {"ADMIN_PASSWORD"}
    }
    assert good == {}


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.swapcase,
        lambda key: key[:32],
        lambda key: key[-32:],
        lambda key: key[::-1],
        lambda key: f"{key}-of-ours",
        lambda key: f"{key[:24]}{generate_key()[:16]}",
        lambda key: "-".join(re.findall(".{1,4}", key)),
        lambda key: f" {key}\n",
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
        lambda key: base64.b32encode(key.encode()).decode(),
        lambda key: key.encode().hex(),
        lambda key: "".join(f"%{ord(each):02X}" for each in key),
        lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    ],
)
@pytest.mark.parametrize("key", PUBLISHED[:3], ids=lambda key: key[:4])
def test_a_published_key_in_another_form_is_refused(key: str, change: object) -> None:
    assert callable(change)
    assert refused(secret_key=change(key)) == {"SECRET_KEY"}


def test_development_and_tests_may_use_them() -> None:
    settings = Settings(
        environment="test",
        secret_key=PUBLISHED[0],
        admin_email="ann@shop.example",
        admin_password="correct-horse-1",
    )
    assert settings.secret_key.get_secret_value() == PUBLISHED[0]


def test_each_fault_says_what_to_do() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(
            environment="production",
            secret_key=PUBLISHED[0],
            secret_keys_accepted=(generate_key(), PUBLISHED[1]),
            database_url="postgresql://u:p@h/d",
            admin_email="ann@shop.example",
            admin_password="NORTHWIND1",
        )
    assert caught.value.faults == (
        "SECRET_KEY: is published with the source code; make one with `tradepost generate-key`",
        "SECRET_KEYS_ACCEPTED: entry 2 is published with the source code; remove it",
        "ADMIN_PASSWORD: is published with the source code; choose another",
    )


def test_prod_like_makes_secrets_of_its_own_once(tmp_path: Path) -> None:
    file = tmp_path / "build" / "secrets.yaml"
    command = [sys.executable, str(ROOT / "tools" / "prod_like_secrets.py"), str(file)]
    subprocess.run(command, check=True, timeout=60)
    written = file.read_text()
    subprocess.run(command, check=True, timeout=60)
    assert (file.read_text(), file.stat().st_mode & 0o777) == (written, 0o600)
    dev = yaml.safe_load((ROOT / "k8s" / "environments" / "dev.yaml").read_text())["secrets"]
    assert refused(secret_key=dev["secretKey"]) == {"SECRET_KEY"}
    own = {**dev, **yaml.safe_load(written)["secrets"]}
    given = {
        "secret_key": own["secretKey"],
        "admin_email": own["adminEmail"],
        "admin_password": own["adminPassword"],
    }
    assert refused(**given) == set()
