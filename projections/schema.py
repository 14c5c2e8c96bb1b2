"""The database's schema: brought up to date by Alembic, and checked before a role starts."""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from domain.errors import DependencyUnavailable, SettingInvalid
from projections.dialect import sole, translated_errors, write_engine
from projections.partitions import partition_readings
from projections.tables import ReadModel

_WITHIN_S = 60


def migrate(url: str) -> str:
    """Bring the database at `url` up to date; the revision it now has.

    Raises:
        DependencyUnavailable: out of reach, or another migration has not ended within a minute.
    """
    engine = write_engine(url)
    try:
        with translated_errors():
            return _migrate(engine)
    finally:
        engine.dispose()


def _migrate(engine: Engine) -> str:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        with sole(engine, "migrate") as alone:
            if alone:
                with engine.begin() as connection:
                    config = _config()
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                return newest_revision()
        time.sleep(0.1)
    raise DependencyUnavailable("database", f"another migration has not ended within {_WITHIN_S} s")


def check_schema(engine: Engine) -> None:
    """Return if the database has the newest revision.

    Raises:
        SettingInvalid: it has not; says what to do.
    """
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision != newest_revision():
        found = f"revision {revision}" if revision else "no tables of ours"
        raise SettingInvalid(f"WATTAWAY_DATABASE_URL: the database has {found}: run `wattaway migrate`")


def newest_revision() -> str:
    """The revision that `migrate` leads to."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def create_generation(connection: Connection, model: ReadModel, now_ms: int) -> None:
    """Make the empty tables of one generation."""
    model.metadata.create_all(connection)
    partition_readings(connection, model, now_ms)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
