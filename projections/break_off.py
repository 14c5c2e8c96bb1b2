"""Ending what waits for a database server that is frozen, so that a role can stop in time."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, event

from projections.dialect import is_mysql


class Breaker:
    """Knows the connections of an engine, from its making on.

    A thread that waits for an answer cannot be cancelled; without its socket it gets an error at once. SQLite needs
    none of this: its waits are short.
    """

    def __init__(self, engine: Engine) -> None:
        self._connections: WeakSet[Any] = WeakSet()
        if is_mysql(engine):
            event.listen(engine, "connect", lambda connection, _record: self._connections.add(connection))

    def break_off(self) -> None:
        """Cut all connections; what was not committed is rolled back by the server."""
        for connection in list(self._connections):
            held = getattr(connection, "_sock", None)
            if isinstance(held, socket.socket):
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)
