"""Shows a view again and again: in place in a terminal, as a line now and then elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.live import Live

from ops.up_view import View, plain_line, render

REFRESH_S = 1.0
PLAIN_EVERY_S = 5.0


async def show(console: Console, look: Callable[[], Awaitable[View]], done: asyncio.Event) -> None:
    """Show until `done`."""
    if console.is_terminal:
        await _show_live(console, look, done)
    else:
        await _show_lines(console, look, done)


async def _show_live(console: Console, look: Callable[[], Awaitable[View]], done: asyncio.Event) -> None:
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while not done.is_set():
            live.update(render(await look()), refresh=True)
            await _pause(done, REFRESH_S)
        live.update(render(await look()), refresh=True)


async def _show_lines(console: Console, look: Callable[[], Awaitable[View]], done: asyncio.Event) -> None:
    while not done.is_set():
        await _pause(done, PLAIN_EVERY_S)
        if not done.is_set():
            console.print(plain_line(await look()), soft_wrap=True, highlight=False)


async def _pause(done: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        return
