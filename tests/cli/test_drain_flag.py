"""The drain flag of a container that ran before in the same pod."""

from pathlib import Path

import pytest

from service.cli import drain_flag
from service.errors import ConfigError
from service.platform.config import Settings


def with_flag(flag: Path | None) -> Settings:
    return Settings(environment="test", drain_file=flag)


def test_is_removed(tmp_path: Path) -> None:
    flag = tmp_path / "now"
    flag.touch()
    drain_flag.remove(with_flag(flag))
    assert not flag.exists()


@pytest.mark.parametrize("name", ["now", "nowhere/now", None])
def test_none_is_no_trouble(tmp_path: Path, name: str | None) -> None:
    drain_flag.remove(with_flag(None if name is None else tmp_path / name))
    assert [*tmp_path.iterdir()] == []


def test_one_that_cannot_be_removed_is_logged(tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    with pytest.raises(ConfigError) as refusal:
        drain_flag.remove(with_flag(tmp_path / "now"))
    [fault] = refusal.value.faults
    assert fault.startswith("DRAIN_FILE: cannot be removed (Is a directory)")
