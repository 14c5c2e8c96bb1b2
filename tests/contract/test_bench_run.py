"""The bench as `make bench` calls it, as short as it can be: what it measures is there, in the table and as JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
ROLES = ("bridge", "projector", "projector-2", "relay", "dispatcher", "api")
SERVERS = ("valkey", "nats", "kafka", "device-auth")


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.bench", "--folder", str(folder), *options],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.embedded
@pytest.mark.long
def test_a_short_bench_of_the_embedded_way_tells_positive_figures(tmp_path: Path) -> None:
    options = ("--way", "embedded", "--only", "rest", "--only", "sustained", "--seconds", "2", "--devices", "10")
    options += ("--partitions", "6", "--projectors", "2")
    told = bench(tmp_path, *options)
    assert told.returncode == 0, told.stdout + told.stderr

    (written,) = tmp_path.glob("bench-*.json")
    assert str(written) in told.stdout.replace("\n", "")
    report = json.loads(written.read_text())
    rest, sustained = report["figures"]
    assert (rest["name"], rest["unit"]) == ("CPU at rest, all processes", "% of a core")
    assert (sustained["name"], sustained["unit"]) == ("sustained end to end, single readings", "/s")
    assert {rest["way"], sustained["way"]} == {"embedded"}
    assert rest["value"] > 0
    assert sustained["value"] > 0
    assert "all of them in SQL and in Redis" in sustained["note"]
    assert int(report["machine"]["cpus"]) > 0
    (cpu_us,) = report["cpu_us_per_reading"].values()
    assert set(cpu_us) == {*SERVERS, *ROLES, "generator"}
    for busy in ("nats", "kafka", "bridge", "projector", "projector-2", "generator"):
        assert cpu_us[busy] > 0, cpu_us

    assert re.search(rf"│ sustained end to end, single readings +│ +{sustained['value']:,.0f} /s │", told.stdout)
    assert re.search(r"[1-9][\d,]* sent, all of them in SQL and in Redis", told.stdout)
    assert re.search(rf"│ bridge +│ +{cpu_us['bridge']:,.1f} │", told.stdout)
    assert told.stderr == ""


def test_a_way_that_there_is_not_is_refused_before_anything_starts(tmp_path: Path) -> None:
    told = bench(tmp_path, "--way", "elsewhere")
    assert told.returncode == 2
    assert "'elsewhere' is not one of embedded, stack" in told.stderr
    assert not list(tmp_path.iterdir())
