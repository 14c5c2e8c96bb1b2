"""The contract of `domain.ports.KeyStore`, on SQLite and on MariaDB."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from bridges.event_store import EventDatabase
from bridges.key_store import REMEMBERED_S, SqlKeyStore
from domain.clock import SystemClock
from domain.errors import Missing, RuleBroken, SettingInvalid
from domain.ports import KeyStore
from domain.sealing import open_sealed, seal
from ops.wiring import key_store
from tests.contract.conftest import EventCorner
from tests.servers import settings_from

MASTER = secrets.token_bytes(32)
USER = "user:5b0f6a0e-3c53-4b47-9d0e-0c1f6a4d2f11"
USER_ID = USER.removeprefix("user:")


class MovableTime:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def monotonic_s() -> MovableTime:
    return MovableTime()


def store(events: EventDatabase, monotonic_s: MovableTime, master_key: bytes = MASTER) -> SqlKeyStore:
    """What another process would have."""
    return SqlKeyStore(events, master_key, SystemClock(), monotonic_s=monotonic_s)


@pytest.fixture
def keys(events: EventDatabase, monotonic_s: MovableTime) -> KeyStore:
    return store(events, monotonic_s)


def reserve(events: EventDatabase, keys: KeyStore, name_hash: str, user_id: str) -> None:
    """In a transaction of its own."""
    with events.transaction() as connection:
        keys.reserving(name_hash, user_id)(connection)


def test_a_key_is_made_once_and_found_by_everybody(
    keys: KeyStore, events: EventDatabase, monotonic_s: MovableTime
) -> None:
    assert keys.find(USER) is None
    key = keys.make(USER)
    assert len(key) == 32
    assert keys.make(USER) == key
    assert keys.find(USER) == key
    assert store(events, monotonic_s).find(USER) == key
    assert keys.make("tenant:1") != key


def test_makers_at_the_same_time_get_the_same_key(events: EventDatabase, monotonic_s: MovableTime) -> None:
    made: list[bytes] = []
    together = threading.Barrier(6)

    def make() -> None:
        own = store(events, monotonic_s)
        together.wait()
        made.append(own.make(USER))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len(set(made)) == 1


def test_what_was_sealed_cannot_be_opened_once_its_subject_is_forgotten(keys: KeyStore) -> None:
    sealed = seal(keys.make(USER), "mia@example.org", f"{USER}/email")
    key = keys.find(USER)
    assert key is not None
    assert open_sealed(key, sealed, f"{USER}/email") == "mia@example.org"
    keys.forget(USER)
    assert keys.find(USER) is None


def test_another_process_forgets_within_a_second(
    keys: KeyStore, events: EventDatabase, monotonic_s: MovableTime
) -> None:
    keys.make(USER)
    elsewhere = store(events, monotonic_s)
    assert elsewhere.find(USER) is not None
    keys.forget(USER)
    monotonic_s.now_s += REMEMBERED_S
    assert REMEMBERED_S < 1
    assert elsewhere.find(USER) is None


def test_a_key_is_not_asked_for_every_time(keys: KeyStore, events: EventDatabase) -> None:
    keys.make(USER)
    assert keys.find(USER) is not None
    with events.transaction() as connection:
        connection.execute(text("DELETE FROM personal_keys"))
    assert keys.find(USER) is not None


@pytest.mark.parametrize("had_a_key", [True, False])
def test_a_forgotten_subject_never_gets_another_key(keys: KeyStore, had_a_key: bool) -> None:
    if had_a_key:
        keys.make(USER)
    keys.forget(USER)
    keys.forget(USER)
    with pytest.raises(Missing, match="forgotten"):
        keys.make(USER)
    assert keys.find(USER) is None


def test_a_backup_of_the_keys_opens_what_was_forgotten_after_it(keys: KeyStore, events: EventDatabase) -> None:
    key = keys.make(USER)
    with events.transaction() as connection:
        connection.execute(text("CREATE TABLE key_backup AS SELECT * FROM personal_keys"))
    keys.forget(USER)
    assert keys.find(USER) is None
    with events.transaction() as connection:
        connection.execute(text("DELETE FROM personal_keys"))
        connection.execute(text("INSERT INTO personal_keys SELECT * FROM key_backup"))
        connection.execute(text("DROP TABLE key_backup"))
    assert keys.find(USER) == key


def test_a_name_is_one_users_only_and_a_user_has_one(keys: KeyStore, events: EventDatabase) -> None:
    reserve(events, keys, "aa", USER_ID)
    reserve(events, keys, "aa", USER_ID)
    with pytest.raises(RuleBroken, match="somebody else"):
        reserve(events, keys, "aa", "another")
    assert keys.user_of_name("aa") == USER_ID
    reserve(events, keys, "bb", USER_ID)
    assert keys.user_of_name("aa") is None
    assert keys.user_of_name("bb") == USER_ID
    reserve(events, keys, "aa", "another")
    assert keys.user_of_name("aa") == "another"


def test_a_refused_name_leaves_the_old_one(keys: KeyStore, events: EventDatabase) -> None:
    reserve(events, keys, "aa", USER_ID)
    reserve(events, keys, "bb", "another")
    with pytest.raises(RuleBroken):
        reserve(events, keys, "bb", USER_ID)
    assert keys.user_of_name("aa") == USER_ID


def test_of_many_who_want_a_name_one_gets_it(events: EventDatabase, monotonic_s: MovableTime) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(6)

    def try_to(user_id: str) -> None:
        own = store(events, monotonic_s)
        together.wait()
        try:
            reserve(events, own, "aa", user_id)
            outcomes.append(user_id)
        except RuleBroken:
            outcomes.append("taken")

    threads = [threading.Thread(target=try_to, args=(f"user-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("taken") == 5
    assert store(events, monotonic_s).user_of_name("aa") in outcomes


def test_forgetting_frees_the_name(keys: KeyStore, events: EventDatabase) -> None:
    keys.make(USER)
    reserve(events, keys, "aa", USER_ID)
    keys.forget(USER)
    assert keys.user_of_name("aa") is None


def test_the_wrong_master_key_opens_nothing_and_says_so(
    keys: KeyStore, events: EventDatabase, monotonic_s: MovableTime
) -> None:
    keys.make(USER)
    with pytest.raises(SettingInvalid, match="WATTAWAY_MASTER_KEY"):
        store(events, monotonic_s, secrets.token_bytes(32)).find(USER)


def test_a_key_moved_to_another_subject_opens_nothing(keys: KeyStore, events: EventDatabase) -> None:
    keys.make(USER)
    with events.transaction() as connection:
        connection.execute(text("UPDATE personal_keys SET subject = 'user:thief'"))
    with pytest.raises(SettingInvalid, match="user:thief"):
        keys.find("user:thief")


def test_no_key_stands_in_the_database_in_the_clear(keys: KeyStore, events: EventDatabase) -> None:
    key = keys.make(USER)
    with events.reader() as connection:
        wrapped = connection.execute(text("SELECT wrapped_key FROM personal_keys")).scalar_one()
    assert key not in wrapped


@pytest.mark.embedded
def test_a_forgotten_key_is_overwritten_on_disk(sqlite_corner: EventCorner, tmp_path: Path) -> None:
    keys = SqlKeyStore(sqlite_corner.database, MASTER, SystemClock())
    keys.make(USER)
    with sqlite_corner.database.reader() as connection:
        wrapped = connection.execute(text("SELECT wrapped_key FROM personal_keys")).scalar_one()
    keys.forget(USER)
    with sqlite_corner.database._reading.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.rollback()
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert wrapped not in (tmp_path / "events.db").read_bytes()
    assert not (tmp_path / "events.db-wal").read_bytes()


@pytest.mark.embedded
def test_the_master_key_is_the_setting_or_made_once_in_the_data_dir(sqlite_corner: EventCorner, tmp_path: Path) -> None:
    key = key_store(sqlite_corner.settings, sqlite_corner.database).make(USER)
    assert key_store(sqlite_corner.settings, sqlite_corner.database).find(USER) == key
    assert (tmp_path / "master.secret").stat().st_mode & 0o777 == 0o600
    given = settings_from(
        {**sqlite_corner.env, "WATTAWAY_MASTER_KEY": (tmp_path / "master.secret").read_text().strip()}
    )
    (tmp_path / "master.secret").unlink()
    assert key_store(given, sqlite_corner.database).find(USER) == key
