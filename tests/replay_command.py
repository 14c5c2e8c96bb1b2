"""`wattaway replay` as a command, against a test's own broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import World

_ROOT = Path(__file__).parents[1]


def replay(world: World, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """How it ended and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "replay", str(path), *options],
        cwd=_ROOT,
        env={**os.environ, **world.broker_env},
        capture_output=True,
        text=True,
        timeout=120,
    )
