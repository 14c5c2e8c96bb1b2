"""Valkey's unix socket works however long the data dir's path is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis

from domain.errors import SettingInvalid
from ops.child import Child
from ops.embedded.valkey import EmbeddedValkey, socket_path
from tests.servers import settings_from


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, wherever the tests keep theirs."""
    with TemporaryDirectory(prefix="wa") as folder:
        yield Path(folder)


def test_the_socket_is_in_the_data_dir_where_its_path_fits() -> None:
    assert socket_path(Path("/data")) == Path("/data/valkey.sock")


def test_a_long_data_dir_gets_a_short_private_socket(
    tmp_path: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    data_dir = tmp_path / ("long" * 30)
    valkey = Child(EmbeddedValkey(data_dir).spec())
    try:
        valkey.start()
        settings = settings_from({"WATTAWAY_DATA_DIR": str(data_dir)})
        with Redis.from_url(settings.resolved_redis_url()) as client:
            assert client.ping()
        folder = socket_path(data_dir).parent
        assert folder.parent == short_dir
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert socket_path(tmp_path / ("other" * 30)) != socket_path(data_dir)
    finally:
        valkey.stop()


def test_a_runtime_dir_that_is_too_long_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("runtime" * 20)))
    with pytest.raises(SettingInvalid, match=r"XDG_RUNTIME_DIR: .* too long for a unix socket"):
        EmbeddedValkey(tmp_path / ("long" * 30)).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_socket_folder_of_somebody_else_is_not_used(
    tmp_path: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    data_dir = tmp_path / ("long" * 30)
    folder = socket_path(data_dir).parent
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(SettingInvalid, match="belongs to another user"):
        EmbeddedValkey(data_dir).prepare()
