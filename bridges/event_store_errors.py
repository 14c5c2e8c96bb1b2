"""SQLAlchemy's errors as those of the `eventsourcing` library, which are also ours where trying again may help."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from eventsourcing import persistence
from sqlalchemy import exc

from domain.errors import DependencyUnavailable

_SAME_NAME = (
    (exc.IntegrityError, persistence.IntegrityError),
    (exc.DataError, persistence.DataError),
    (exc.ProgrammingError, persistence.ProgrammingError),
    (exc.NotSupportedError, persistence.NotSupportedError),
)


class EventStoreUnavailable(DependencyUnavailable, persistence.OperationalError):
    """The event store's database is away, locked or full, so nothing was recorded.

    One exception may: where the answer to a commit was lost. Whoever tries again then finds his version taken.
    """


@contextmanager
def library_errors() -> Iterator[None]:
    """Translate what SQLAlchemy and the drivers raise; the message has no statement and no values in it."""
    try:
        yield
    except exc.DBAPIError as error:
        for theirs, librarys in _SAME_NAME:
            if isinstance(error, theirs):
                raise librarys(str(error.orig)) from error
        raise EventStoreUnavailable("database", str(error.orig)) from error
    except (exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise EventStoreUnavailable("database", str(error)) from error
