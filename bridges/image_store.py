"""Firmware images in a table beside the event store, each once, under the SHA-256 of its bytes."""

from __future__ import annotations

from contextlib import suppress

from eventsourcing.persistence import IntegrityError
from sqlalchemy import insert, select

from bridges.event_store import EventDatabase
from bridges.event_store_tables import firmware_images
from domain.clock import Clock


class SqlImageStore:
    """An `ImageStore` on SQL."""

    def __init__(self, database: EventDatabase, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def put(self, sha256: str, content: bytes) -> None:
        """Keep an image; it may be there already."""
        column = firmware_images.c.sha256
        with self._database.reader() as connection:
            if connection.execute(select(column).where(column == sha256)).first() is not None:
                return
        row = {"sha256": sha256, "content": content, "stored_at_ms": self._clock.now_ms()}
        # Otherwise somebody else has just stored the same bytes.
        with suppress(IntegrityError), self._database.transaction() as connection:
            connection.execute(insert(firmware_images).values(row))

    def find(self, sha256: str) -> bytes | None:
        """The image, None if there is none."""
        query = select(firmware_images.c.content).where(firmware_images.c.sha256 == sha256)
        with self._database.reader() as connection:
            found: bytes | None = connection.execute(query).scalars().one_or_none()
        return found
