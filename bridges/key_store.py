"""Keys of people and tenants, and sign-in names, in tables beside the event store: what forgetting deletes.

Each key is wrapped by a master key that is in no database, so that a copy of the database alone opens nothing. A
forgotten subject keeps a row without a key: nobody who comes late makes it a new one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import IntegrityError
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy import exc as sql_errors

from bridges.event_store import EventDatabase
from bridges.event_store_tables import personal_keys, sign_in_names
from domain.clock import Clock
from domain.errors import Missing, RuleBroken, SettingInvalid
from domain.ports import Beside

KEY_BYTES = 32
REMEMBERED_S = 0.8
"""How long a process goes on with a key that another one has deleted meanwhile."""
_MOST_REMEMBERED = 10_000
_NONCE_BYTES = 12
_USER = "user:"


class SqlKeyStore:
    """A `KeyStore` on SQL.

    Args:
        master_key: 32 bytes.
        monotonic_s: tests move it.
    """

    def __init__(
        self,
        database: EventDatabase,
        master_key: bytes,
        clock: Clock,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._clock, self._monotonic_s = database, clock, monotonic_s
        self._master = AESGCM(master_key)
        self._remembered: dict[str, tuple[bytes, float]] = {}
        self._turn = threading.Lock()

    def make(self, subject: str) -> bytes:
        """A new key of 32 bytes for a subject, or the one it has.

        Raises:
            Missing: it was forgotten.
        """
        row = self._row(subject)
        if row is None:
            try:
                with self._database.transaction() as connection:
                    connection.execute(insert(personal_keys).values(self._new_row(subject)))
            except IntegrityError:
                # Somebody was faster.
                pass
            row = self._row(subject)
        if row is None or row.wrapped_key is None:
            raise Missing("forgotten", f"{subject} was forgotten")
        return self._unwrap(subject, row.wrapped_key)

    def find(self, subject: str) -> bytes | None:
        """The subject's key; None once it was forgotten, or if it never had one."""
        asked_at = self._monotonic_s()
        with self._turn:
            key, until = self._remembered.get(subject, (b"", 0.0))
        if asked_at < until:
            return key
        row = self._row(subject)
        if row is None or row.wrapped_key is None:
            return None
        key = self._unwrap(subject, row.wrapped_key)
        self._remember(subject, key, asked_at + REMEMBERED_S)
        return key

    def forget(self, subject: str) -> None:
        """Delete the subject's key and its sign-in name, for all processes within a second."""
        with self._database.transaction() as connection:
            self.forgetting(subject)(connection)

    def forgetting(self, subject: str) -> Beside:
        """The same in the transaction of a decision."""

        def forget(connection: Connection) -> None:
            now_ms = self._clock.now_ms()
            forgotten = {"wrapped_key": None, "forgotten_at_ms": now_ms}
            known = personal_keys.c.subject == subject
            if connection.execute(update(personal_keys).where(known).values(forgotten)).rowcount == 0:
                connection.execute(insert(personal_keys).values(subject=subject, made_at_ms=now_ms, **forgotten))
            _release(connection, subject.removeprefix(_USER))
            with self._turn:
                self._remembered.pop(subject, None)

        return forget

    def reserving(self, name_hash: str, user_id: str) -> Beside:
        """Makes a sign-in name this user's only one, in the transaction of a decision.

        It raises `RuleBroken` if it is somebody else's (`name-taken`).
        """

        def reserve(connection: Connection) -> None:
            row = {"name_hash": name_hash, "user_id": user_id, "reserved_at_ms": self._clock.now_ms()}
            _release(connection, user_id)
            try:
                connection.execute(insert(sign_in_names).values(row))
            except sql_errors.IntegrityError as error:
                raise RuleBroken("name-taken", "somebody else signs in with that already") from error

        return reserve

    def user_of_name(self, name_hash: str) -> str | None:
        """Whose sign-in name this is."""
        query = select(sign_in_names.c.user_id).where(sign_in_names.c.name_hash == name_hash)
        with self._database.reader() as connection:
            return connection.execute(query).scalars().one_or_none()

    def _row(self, subject: str) -> Any:
        query = select(personal_keys.c.wrapped_key).where(personal_keys.c.subject == subject)
        with self._database.reader() as connection:
            return connection.execute(query).one_or_none()

    def _new_row(self, subject: str) -> dict[str, Any]:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        wrapped = nonce + self._master.encrypt(nonce, secrets.token_bytes(KEY_BYTES), subject.encode())
        return {"subject": subject, "wrapped_key": wrapped, "made_at_ms": self._clock.now_ms()}

    def _unwrap(self, subject: str, wrapped: bytes) -> bytes:
        try:
            return self._master.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], subject.encode())
        except InvalidTag:
            raise SettingInvalid(
                f"WATTAWAY_MASTER_KEY: it does not open the stored key of {subject}; restore the one it was made with "
                "(where the setting is empty: the file `master.secret` in the data dir)"
            ) from None

    def _remember(self, subject: str, key: bytes, until: float) -> None:
        with self._turn:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[subject] = (key, until)


def _release(connection: Connection, user_id: str) -> None:
    connection.execute(delete(sign_in_names).where(sign_in_names.c.user_id == user_id))
