"""A database's schema: brought up to date by Alembic, and checked before a role starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from domain.errors import DependencyUnavailable, SettingInvalid
from projections.dialect import translated_errors, write_engine
from projections.partitions import partition_readings
from projections.sole_work import sole
from projections.tables import ReadModel

_WITHIN_S = 60


@dataclass(frozen=True)
class Lineage:
    """Migrations that follow one another.

    Args:
        scripts: the folder of Alembic's `env.py` and `versions`.
        version_table: where the database keeps its revision; several lineages may share a database.
        setting: what names the database.
    """

    scripts: Path
    version_table: str
    setting: str


READ_MODELS = Lineage(Path(__file__).with_name("migrations"), "alembic_version", "WATTAWAY_DATABASE_URL")


def migrate(url: str, lineage: Lineage = READ_MODELS) -> str:
    """Bring the database at `url` up to date; the revision it now has.

    Raises:
        SettingInvalid: the database lets us not in, or is none.
        DependencyUnavailable: out of reach, or another migration has not ended within a minute.
    """
    engine = write_engine(url)
    try:
        with translated_errors(lineage.setting):
            return _migrate(engine, lineage)
    finally:
        engine.dispose()


def _migrate(engine: Engine, lineage: Lineage) -> str:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        with sole(engine, "migrate") as alone:
            if alone:
                with engine.begin() as connection:
                    config = _config(lineage)
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                return newest_revision(lineage)
        time.sleep(0.1)
    raise DependencyUnavailable("database", f"another migration has not ended within {_WITHIN_S} s")


def check_schema(engine: Engine, lineage: Lineage = READ_MODELS) -> None:
    """Return if the database has the newest revision.

    Raises:
        SettingInvalid: it has not; says what to do.
    """
    with engine.connect() as connection:
        opts = {"version_table": lineage.version_table}
        revision = MigrationContext.configure(connection, opts=opts).get_current_revision()
    if revision != newest_revision(lineage):
        found = f"revision {revision}" if revision else "no tables of ours"
        raise SettingInvalid(f"{lineage.setting}: the database has {found}: run `wattaway migrate`")


def newest_revision(lineage: Lineage = READ_MODELS) -> str:
    """The revision that `migrate` leads to."""
    return ScriptDirectory.from_config(_config(lineage)).get_current_head() or ""


def create_generation(connection: Connection, model: ReadModel, now_ms: int) -> None:
    """Make the empty tables of one generation."""
    model.metadata.create_all(connection)
    partition_readings(connection, model, now_ms)


def _config(lineage: Lineage) -> Config:
    config = Config()
    config.set_main_option("script_location", str(lineage.scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
