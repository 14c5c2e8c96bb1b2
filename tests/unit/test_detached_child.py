"""A detached child is started once, found again by its pid file, and never mistaken for another process."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from domain.errors import DependencyUnavailable
from ops.child import ChildSpec
from ops.stack.detached import DetachedChild

_SERVE = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def _spec(folder: Path, code: str = _SERVE, ready_within_s: float = 20) -> ChildSpec:
    ready = folder / "ready"
    return ChildSpec(
        name="probe",
        argv=[sys.executable, "-c", code, str(ready)],
        log_path=folder / "probe.log",
        is_ready=ready.exists,
        ready_within_s=ready_within_s,
    )


def test_a_second_command_finds_and_stops_what_the_first_started(tmp_path: Path) -> None:
    first = DetachedChild(_spec(tmp_path))
    first.start()
    found = DetachedChild(_spec(tmp_path))
    pid = found.pid
    assert pid is not None
    found.start()
    assert found.pid == pid
    found.stop()
    assert found.pid is None
    assert first.pid is None


def test_a_child_runs_in_the_folder_and_with_the_variables_that_its_spec_names(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    code = "import os, pathlib, time; pathlib.Path(os.environ['PLACE']).touch(); time.sleep(60)"
    there = tmp_path / "home" / "here"
    spec = replace(_spec(tmp_path, code), cwd=there.parent, env={"PLACE": "here"}, is_ready=there.exists)
    child = DetachedChild(spec)
    child.start()
    child.stop()


def test_another_process_that_got_the_pid_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "probe.pid").write_text(json.dumps({"pid": os.getpid(), "started_at": 1.0}))
    child = DetachedChild(_spec(tmp_path))
    assert child.pid is None
    child.stop()


def test_a_child_that_ends_at_once_is_named_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(DependencyUnavailable, match=r"probe.*probe\.log"):
        DetachedChild(_spec(tmp_path, "raise SystemExit(3)")).start()


def test_a_child_that_never_answers_is_given_up(tmp_path: Path) -> None:
    child = DetachedChild(_spec(tmp_path, "import time; time.sleep(60)", ready_within_s=0.2))
    with pytest.raises(DependencyUnavailable, match="no answer"):
        child.start()
    child.stop()
