"""The bench's floors under the stores can be measured, on both ways to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.store_floors import raw_insert_per_s
from ops.bench.ways import Way
from tests.servers import World


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        pytest.param("sqlite", {"sqlite3 insert"}, marks=pytest.mark.embedded),
        pytest.param("mysql", {"LOAD DATA", "multi-row insert"}, marks=pytest.mark.stack),
    ],
)
def test_rows_are_written_as_barely_as_the_driver_allows(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, names: set[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'read.db'}"
    if kind == "mysql":
        world: World = request.getfixturevalue("stack_world")
        url = world.settings.resolved_database_url()
    found = raw_insert_per_s(Way(kind, {"WATTAWAY_DATABASE_URL": url}, {}), 2_000, tmp_path)
    assert found.keys() == names
    assert all(rate > 0 for rate in found.values())
