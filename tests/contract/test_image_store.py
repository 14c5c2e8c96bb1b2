"""The contract of `domain.ports.ImageStore`, on SQLite and on MariaDB."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest
from sqlalchemy import func, select, text

from bridges.event_store import EventDatabase
from bridges.event_store_tables import firmware_images
from bridges.image_store import SqlImageStore
from domain.clock import SystemClock
from domain.errors import SettingInvalid
from domain.firmware_image import MOST_IMAGE_BYTES
from domain.ports import ImageStore
from ops.wiring import event_engines, event_lineage, migrate
from tests.contract.conftest import EventCorner

BIGGEST = random.Random(7).randbytes(MOST_IMAGE_BYTES)


@pytest.fixture
def images(events: EventDatabase) -> ImageStore:
    return SqlImageStore(events, SystemClock())


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content", [b"\x00'\\%s\xff\xfe", BIGGEST], ids=["odd bytes", "the biggest"])
def test_an_image_comes_back_byte_for_byte(images: ImageStore, events: EventDatabase, content: bytes) -> None:
    assert images.find(name_of(content)) is None
    images.put(name_of(content), content)
    assert images.find(name_of(content)) == content
    assert SqlImageStore(events, SystemClock()).find(name_of(content)) == content
    assert images.find(name_of(b"another")) is None


def test_whoever_stores_it_again_or_at_the_same_time_stores_it_once(images: ImageStore, events: EventDatabase) -> None:
    together = threading.Barrier(6)
    failures: list[BaseException] = []

    def store() -> None:
        together.wait()
        try:
            images.put(name_of(b"image"), b"image")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images.put(name_of(b"image"), b"image")
    assert not failures
    with events.reader() as connection:
        assert connection.execute(select(func.count()).select_from(firmware_images)).scalar_one() == 1
    assert images.find(name_of(b"image")) == b"image"


def test_an_event_store_of_before_gets_the_table_and_keeps_its_events(event_corner: EventCorner) -> None:
    lineage = event_lineage(event_corner.settings)
    writing, reading = event_engines(event_corner.settings)
    with writing.begin() as connection:
        connection.execute(text("INSERT INTO tracking VALUES ('before', 7)"))
        connection.execute(text("DROP TABLE firmware_images"))
        connection.execute(text(f"UPDATE {lineage.version_table} SET version_num = '0001'"))
    with pytest.raises(SettingInvalid, match="wattaway migrate"):
        event_engines(event_corner.settings)
    migrate(event_corner.settings)
    images = SqlImageStore(event_corner.database, SystemClock())
    images.put(name_of(b"image"), b"image")
    assert images.find(name_of(b"image")) == b"image"
    with event_corner.database.reader() as connection:
        assert connection.execute(text("SELECT notification_id FROM tracking")).scalar_one() == 7
    for engine in (writing, reading):
        engine.dispose()
