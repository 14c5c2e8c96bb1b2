"""The CPU time that processes use, read from the system before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import psutil

from ops.child import Child


def cpu_seconds(children: Mapping[str, Child]) -> dict[str, float]:
    """CPU time used so far (user and system), with that of their own children, by name."""
    return {name: _cpu_s(child.pid) for name, child in children.items() if child.pid is not None}


def _cpu_s(pid: int) -> float:
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used = one.cpu_times()
                total += used.user + used.system
    return total


def us_per_reading(before: Mapping[str, float], after: Mapping[str, float], readings: int) -> dict[str, float]:
    """CPU-µs each process spent per reading."""
    return {name: (after[name] - before[name]) / max(1, readings) * 1e6 for name in after if name in before}
