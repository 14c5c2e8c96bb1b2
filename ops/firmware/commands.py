"""All commands of `wattaway firmware`: each stands in a file of its own and adds itself to the group."""

from __future__ import annotations

from ops.firmware import (  # noqa: F401 - they add their commands
    build,
    flash,
    new_key,
    provision,
    publish,
    releases,
    sign,
    sim,
    verify,
    withdraw,
)
from ops.firmware.cli import firmware as firmware
