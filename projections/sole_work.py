"""Work that one process at a time does on a database: MySQL's named locks, a locked file beside SQLite's."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from projections.dialect import is_mysql

_A_YEAR_S = 31_536_000


class Right(NamedTuple):
    """To do some work alone; `holder` is the connection that has MySQL's lock `name`."""

    name: str = ""
    holder: int | None = None

    def stands(self, connection: Connection) -> bool:
        """Whether it still does: ask in the transaction that does the work, and let that one end before `frozen_s`."""
        if self.holder is None:
            return True
        found = connection.execute(text("SELECT IS_USED_LOCK(:name)"), {"name": self.name}).scalar()
        return bool(found == self.holder)


@contextmanager
def sole(engine: Engine, work: str, *, frozen_s: int = _A_YEAR_S) -> Iterator[Right | None]:
    """Yield the right to do `work` on this database alone for as long as the context lasts; None: another has it.

    Args:
        frozen_s: on MySQL a process that stands still (SIGSTOP) for so long has lost it, and learns that only by
            asking `Right.stands`: its work must be fenced. On SQLite it keeps it.
    """
    if is_mysql(engine):
        with engine.connect() as connection:
            # Its own connection, which may idle for as long as the work takes.
            connection.detach()
            connection.execute(text(f"SET SESSION wait_timeout = {frozen_s}"))
            name = f"{str(engine.url.database)[:40]}.{work}"
            asked = text("SELECT GET_LOCK(:name, 0), CONNECTION_ID()")
            held, holder = connection.execute(asked, {"name": name}).one()
            connection.commit()
            try:
                with _kept_awake(connection, frozen_s / 4) if held else nullcontext():
                    yield Right(name, holder) if held else None
            finally:
                # A connection that is lost holds nothing any more.
                with suppress(SQLAlchemyError):
                    connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
        return
    with Path(f"{engine.url.database}.{work}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield Right()


@contextmanager
def _kept_awake(connection: Connection, every_s: float) -> Iterator[None]:
    """Use the connection now and then, in a thread, until the end of the block: who stands still does not."""
    over = threading.Event()

    def use() -> None:
        with suppress(SQLAlchemyError):
            while not over.wait(every_s):
                connection.execute(text("SELECT 1"))
                connection.commit()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
