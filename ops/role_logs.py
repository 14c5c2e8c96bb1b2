"""What the children's logs say: new warnings and errors, for the screen of `wattaway up`; keeps the files small."""

from __future__ import annotations

import json
import shutil
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import structlog

log = structlog.get_logger()

_ROTATE_AT_BYTES = 10_000_000
_READ_AT_MOST_BYTES = 1_000_000
_LOUD = {"warning": False, "error": True, "critical": True, "exception": True}


@dataclass(frozen=True)
class Complaint:
    """A warning or an error of a role."""

    role: str
    is_error: bool
    text: str


@dataclass
class RoleLogs:
    """Follows the JSON logs of the roles, from where they end now."""

    paths: dict[str, Path]
    errors: int = 0
    warnings: int = 0
    latest: deque[Complaint] = field(default_factory=lambda: deque(maxlen=5))
    _read_to: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read_to = {role: _size(path) for role, path in self.paths.items()}

    def follow(self) -> None:
        """Take in what was written since the last call."""
        for role, path in self.paths.items():
            try:
                for line in self._new_lines(role, path):
                    self._take(role, line)
                if _size(path) > _ROTATE_AT_BYTES:
                    self._rotate(role, path)
            except OSError as error:
                log.warning("log of a role neither read nor kept small", child=role, why=str(error))

    def _rotate(self, role: str, path: Path) -> None:
        try:
            shutil.copyfile(path, path.with_suffix(".log.1"))
        except OSError as error:
            # No room for a copy: emptied all the same, as nothing else makes room.
            log.warning("log of a role emptied without a copy", child=role, why=str(error))
        # The child appends, so that it goes on at the start of the emptied file.
        with path.open("r+b") as file:
            file.truncate(0)
        self._read_to[role] = 0

    def _new_lines(self, role: str, path: Path) -> list[bytes]:
        start, size = self._read_to[role], _size(path)
        if size <= start:
            self._read_to[role] = size
            return []
        with path.open("rb") as file:
            file.seek(max(start, size - _READ_AT_MOST_BYTES))
            content = file.read(_READ_AT_MOST_BYTES)
        whole = content.rfind(b"\n") + 1
        self._read_to[role] = size - len(content) + whole
        return content[:whole].splitlines()

    def _take(self, role: str, line: bytes) -> None:
        try:
            event = json.loads(line)
            # aiokafka calls an error what it tries again itself, such as a coordinator that is not elected yet.
            is_error = _LOUD[event["level"]] and not str(event.get("logger", "")).startswith("aiokafka")
        except (ValueError, KeyError, TypeError):
            return
        self.errors += is_error
        self.warnings += not is_error
        fields = (f"{key}={event[key]}" for key in event if key not in ("event", "level", "at", "role", "exception"))
        self.latest.append(Complaint(role, is_error, " ".join([str(event.get("event", "")), *fields])[:300]))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
