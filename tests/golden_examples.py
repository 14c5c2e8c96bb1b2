"""The golden wire examples of tests/golden, for the tests of whoever speaks the wire."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("golden")


def golden(kind: str) -> dict[str, Any]:
    """One file: `data`, `status`, `receipts` or `commands`."""
    loaded: dict[str, Any] = json.loads((_FOLDER / f"{kind}.json").read_text("utf-8"))
    return loaded


def payload_of(example: dict[str, Any]) -> bytes:
    """An example's bytes as they travel."""
    if "payload_base64" in example:
        return base64.b64decode(example["payload_base64"])
    return str(example["payload"]).encode()
