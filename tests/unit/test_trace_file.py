"""Trace files: what is right is taken in order, what is wrong is named by line and column."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import SettingInvalid
from ops import trace_file
from ops.replay import CounterBuilder, boot_of
from ops.replay_plan import parse_shift, parse_speed
from ops.trace_file import LineError, TraceRow, read_trace

T0_MS = 1_339_711_200_000


def _read(path: Path, text: str | bytes) -> tuple[list[TraceRow], list[LineError]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    errors: list[LineError] = []
    return list(read_trace(path, errors.append)), errors


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def test_columns_are_found_by_name_and_unknown_ones_ignored(csv_path: Path) -> None:
    rows, errors = _read(
        csv_path,
        "\ufeffappliance,voltage_v,POWER_W,device_id,wh,ts,energy_wh\n"
        "Fridge,230.15,98.2,d1,0.5,2012-06-14T22:00:00Z,17.25\n",
    )
    assert errors == []
    assert rows == [TraceRow(T0_MS, "d1", 2, 98_200, 230_150, 17_250, 500_000)]


@pytest.mark.parametrize(
    "ts",
    [
        "2012-06-14T22:00:00Z",
        "2012-06-15T00:00:00+02:00",
        "2012-06-14 22:00:00.000+00:00",
        "1339711200",
        "1339711200.0",
        "1339711200000",
    ],
)
def test_an_instant_may_be_written_in_several_ways(csv_path: Path, ts: str) -> None:
    rows, errors = _read(csv_path, f"ts,device_id,power_w\n{ts},d1,1\n")
    assert (errors, rows[0].at_ms) == ([], T0_MS)


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        ("yesterday,d1,1,1,230", "ts", "'yesterday' is neither"),
        ("2012-06-14T22:00:00,d1,1,1,230", "ts", "has no zone"),
        ("9999-01-01T00:00:00Z,d1,1,1,230", "ts", "between 1970 and 2100"),
        ("9" * 400 + ",d1,1,1,230", "ts", "neither"),
        (",d1,1,1,230", "ts", "is empty"),
        ("1339711200,plug/1,1,1,230", "device_id", "A-Z a-z"),
        ("1339711200,d1,,1,230", "power_w", "is empty"),
        ("1339711200,d1", "power_w", "is empty"),
        ("1339711200,d1,much,1,230", "power_w", "'much' is not a number"),
        ("1339711200,d1,nan,1,230", "power_w", "not between 0 and 8,000"),
        ("1339711200,d1,-3,1,230", "power_w", "not between 0 and 8,000"),
        ("1339711200,d1,1,inf,230", "wh", "not between"),
        ("1339711200,d1,1,1,4000", "voltage_v", "not between 0 and 400"),
        ('1339711200,"d1"x,1,1,230', "-", "expected after"),
        ('1339711200,d1,1,1,"230', "-", "a quote is not closed where the line ends"),
        ('"1339711200,d1,1,1,230', "-", "a quote is not closed where the line ends"),
        ("1339711200,d1,1_000,1,230", "power_w", "'1_000' is not a number"),
        pytest.param("1339711200,d1,1,1,230," + "x" * 9_979, "-", "is longer than 10,000 characters", id="10,001 x"),
        pytest.param("1339711200,d1,1,1,230," + '"' * 1_000_000, "-", "is longer than 10,000", id="a million quotes"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(csv_path: Path, line: str, column: str, why: str) -> None:
    good = "1339711{},d1,1,1,230"
    rows, errors = _read(
        csv_path, "\n".join(["ts,device_id,power_w,wh,voltage_v", good.format(100), line, good.format(300), ""])
    )
    assert [row.line for row in rows] == [2, 4]
    assert [(error.line, error.column) for error in errors] == [(3, column)]
    assert why in errors[0].detail
    assert str(errors[0]).startswith(f"line 3, column {column}: ")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_a_line_of_the_longest_length_is_taken_however_it_ends(csv_path: Path, end: str) -> None:
    longest = ("1339711200,d1,1," + "x" * 10_000)[:10_000]
    rows, errors = _read(csv_path, f"ts,device_id,power_w{end or chr(10)}{longest}{end}")
    assert ([row.line for row in rows], errors) == ([2], [])


def test_an_endless_line_does_not_fill_the_memory(csv_path: Path) -> None:
    with csv_path.open("wb") as file:
        file.write(b"ts,device_id,power_w\n")
        file.truncate(50_000_000)
    errors: list[LineError] = []
    tracemalloc.start()
    try:
        assert list(read_trace(csv_path, errors.append)) == []
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert [str(error) for error in errors] == ["line 2, column -: is longer than 10,000 characters"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no column ts, device_id, power_w .found: nothing."),
        (b"time,device_id,power_w\n", "no column ts .found: time, device_id, power_w."),
        (b"\xff\xfe\x00garbage", "no column"),
    ],
)
def test_a_file_without_the_needed_columns_is_refused_with_what_was_found(
    csv_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(SettingInvalid, match=why):
        _read(csv_path, content)


def test_a_missing_file_and_a_false_gzip_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"absent\.csv: No such file"):
        list(read_trace(tmp_path / "absent.csv", lambda _: None))
    with pytest.raises(SettingInvalid, match=r"plain\.csv\.gz"):
        _read(tmp_path / "plain.csv.gz", "ts,device_id,power_w\n")


def test_gzip_is_read_and_a_torn_one_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = "ts,device_id,power_w\n" + "".join(f"{1339711200 + n},d{n % 7},{n % 97}.5\n" for n in range(20_000))
    packed = gzip.compress(lines.encode())
    rows, errors = _read(tmp_path / "whole.csv.gz", packed)
    assert (len(rows), errors) == (20_000, [])
    rows, errors = _read(tmp_path / "torn.csv.gz", packed[: len(packed) // 2])
    assert 1_000 < len(rows) < 20_000
    assert [error.column for error in errors] == ["-"]
    assert "cannot be read on" in errors[0].detail


@given(st.permutations(range(30)))
def test_lines_out_of_order_come_out_in_order(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "shuffled.csv"
    rows, errors = _read(path, "ts,device_id,power_w\n" + "".join(f"{1339711200 + n},d{n % 3},{n}\n" for n in order))
    assert errors == []
    assert [row.power_mw // 1000 for row in rows] == list(range(30))


def test_a_second_row_of_the_same_instant_and_one_far_too_late_are_named(
    csv_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "REORDER_ROWS", 2)
    rows, errors = _read(
        csv_path, "ts,device_id,power_w\n" + "".join(f"{1339711200 + n},d1,{n}\n" for n in (5, 6, 6, 7, 8, 9, 1))
    )
    assert [row.power_mw // 1000 for row in rows] == [5, 6, 7, 8, 9]
    assert [(error.line, error.column) for error in errors] == [(4, "ts"), (8, "ts")]
    assert "same instant" in errors[0].detail
    assert "too late" in errors[1].detail


def _row(at_s: int, *, power_w: float = 0, energy_mwh: int | None = None, window_wh: float | None = None) -> TraceRow:
    window_uwh = None if window_wh is None else round(window_wh * 1_000_000)
    return TraceRow(T0_MS + at_s * 1000, "d1", 2, round(power_w * 1000), None, energy_mwh, window_uwh)


def test_the_meters_own_counter_wins_over_windows_and_windows_over_power() -> None:
    both = CounterBuilder()
    assert both.energy_mwh(_row(0, power_w=100, energy_mwh=777_000, window_wh=5)) == 777_000
    windows = CounterBuilder()
    assert [windows.energy_mwh(_row(at, power_w=9_999, window_wh=0.0004)) for at in (0, 30, 60)] == [0, 0, 1]


def test_where_the_meter_is_silent_its_counter_goes_on_by_the_power() -> None:
    counter = CounterBuilder()
    rows = [_row(0, power_w=3600, energy_mwh=5_000_000), _row(10, power_w=3600), _row(20, energy_mwh=5_030_000)]
    assert [counter.energy_mwh(row) for row in rows] == [5_000_000, 5_010_000, 5_030_000]


def test_power_is_integrated_but_a_gap_invents_no_energy() -> None:
    counter = CounterBuilder()
    rows = [_row(0, power_w=3600), _row(10, power_w=1800), _row(20, power_w=1800), _row(20 + 301, power_w=0)]
    assert [counter.energy_mwh(row) for row in rows] == [0, 10_000, 15_000, 15_000]


@given(st.lists(st.tuples(st.integers(1, 300_000), st.integers(0, 8_000_000)), min_size=1, max_size=50))
def test_integrated_power_is_exact_whatever_the_steps(steps: list[tuple[int, int]]) -> None:
    counter, at_ms, mw_ms, last_mw = CounterBuilder(), T0_MS, 0, None
    for step_ms, power_mw in steps:
        at_ms += step_ms
        mw_ms += 0 if last_mw is None else last_mw * step_ms
        last_mw = power_mw
        assert counter.energy_mwh(TraceRow(at_ms, "d1", 2, power_mw, None, None, None)) == mw_ms // 3_600_000


def test_a_replayed_socket_has_the_same_boot_unless_it_is_shifted() -> None:
    assert boot_of("d1", 0) == boot_of("d1", 0)
    assert len({boot_of("d1", 0), boot_of("d2", 0), boot_of("d1", 1)}) == 3


def test_speed_and_shift_are_read_or_refused_by_name() -> None:
    assert [parse_speed(text) for text in ("max", "1", "0.5")] == [None, 1.0, 0.5]
    assert [parse_shift(text) for text in ("now", "0", "-90m", "36h", "+2d", "1.5s")] == [
        None,
        0,
        -5_400_000,
        129_600_000,
        172_800_000,
        1_500,
    ]
    for wrong in ("0", "-1", "nan", "inf", "fast"):
        with pytest.raises(SettingInvalid, match="--speed"):
            parse_speed(wrong)
    for wrong in ("5", "d", "nand", "1w", "infd", ""):
        with pytest.raises(SettingInvalid, match="--shift"):
            parse_shift(wrong)
