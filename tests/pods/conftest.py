"""The install that these tests render and run."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from service.platform.config import generate_key
from tests.pods.rendered import Container, containers
from tests.pods.sandbox import DATABASE_HOST, need_programs
from tests.server.process import cloned_database

ADMIN = "ada@shop.example"
#: Production refuses those that stand in the repository.
PASSWORD = f"{generate_key()}-1"
WORKERS = 2


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """An empty one."""
    need_programs()
    with cloned_database(template=None) as url:
        yield url


@pytest.fixture(scope="module")
def rendered(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Container]:
    """The install with two secrets and an administrator, and a drain that does not take long."""
    secrets = {
        "secretKey": generate_key(),
        "databaseUrl": inside(database),
        "adminEmail": ADMIN,
        "adminPassword": PASSWORD,
    }
    values = {"secrets": secrets, "api": {"workers": WORKERS, "shutdown": {"drainSeconds": 1}}}
    return containers(values, tmp_path_factory.mktemp("values"))


def inside(database: str, **parts: str) -> str:
    """Its URL from within a pod."""
    split = urlsplit(database)
    netloc = f"{split.netloc.rpartition('@')[0]}@{DATABASE_HOST}:5432"
    return urlunsplit(split._replace(**{"netloc": netloc, **parts}))
