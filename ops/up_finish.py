"""The end of `wattaway up --duration S`: the sockets stop, everything arrives, log and read models are compared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.console import Console

from ops.read_models import verify_read_models
from ops.settings import Settings
from ops.status import projection_lag
from ops.supervisor import Supervisor

_CAUGHT_UP_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.25


async def finish(settings: Settings, supervisor: Supervisor, fleets: Sequence[str], console: Console) -> int:
    """Say what came of it; 0 if every fleet (those that run) ended well and the read models equal the log, else 1.

    A simulation ends well if every reading was receipted. A firmware keeps what was not in its flash.
    """
    ended_well = True
    for fleet in [name for name in fleets if name in supervisor.children]:
        ended_well = await supervisor.stop_child(fleet) == 0 and ended_well
        console.print(
            _closing_words(supervisor.children[fleet].spec.log_path.read_text()), highlight=False, markup=False
        )
    caught_up = await _caught_up(settings)
    if not caught_up:
        console.print(f"[red]the read models are not at the log's end after {_CAUGHT_UP_WITHIN_S:g} s[/red]")
    result = await asyncio.to_thread(verify_read_models, settings)
    style = "green" if result.ok else "bold red"
    console.print(str(result), style=style, soft_wrap=True, highlight=False, markup=False)
    restarts = {name: child.restarts for name, child in supervisor.children.items() if child.restarts}
    if restarts:
        console.print("restarts: " + ", ".join(f"{name} {count}" for name, count in restarts.items()))
    return 0 if ended_well and caught_up and result.ok else 1


async def _caught_up(settings: Settings) -> bool:
    """Whether the read models reached the log's end in time; nobody writes to it any more but last wills."""
    try:
        async with asyncio.timeout(_CAUGHT_UP_WITHIN_S):
            while True:
                if await projection_lag(settings) == 0:
                    return True
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        return False


def _closing_words(log: str) -> str:
    """What the simulator printed at its end: the lines after its last log event."""
    lines = log.rstrip().splitlines()
    start = next((number for number in range(len(lines), 0, -1) if lines[number - 1].startswith("{")), 0)
    return "\n".join(lines[start:])
