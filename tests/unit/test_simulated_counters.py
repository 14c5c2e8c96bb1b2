"""The counters between two simulations: a file that holds none and a disk that is full end neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ops.simulator.command import load_counters, save_counters


def test_counters_are_kept_and_those_of_other_simulations_too(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    with capture_logs() as said:
        assert load_counters(path) == {}
        save_counters(path, {"a": 1, "b": 2})
        save_counters(path, {"b": 3})
    assert load_counters(path) == {"a": 1, "b": 3}
    assert said == []


@pytest.mark.parametrize("content", ["[]", '{"a": null}', '{"a": [1]}', '{"a": "many"}', "7", "", "{"])
def test_a_file_without_counters_is_said_and_written_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "counters.json"
    path.write_text(content)
    with capture_logs() as said:
        assert load_counters(path) == {}
    assert [(one["log_level"], one["file"]) for one in said] == [("warning", str(path))]
    save_counters(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_disk_that_takes_nothing_is_said_and_leaves_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counters.json"
    save_counters(path, {"a": 1})

    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with capture_logs() as said:
        save_counters(path, {"a": 2})
    assert [one["event"] for one in said] == ["counters not stored"]
    assert load_counters(path) == {"a": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["counters.json"]
