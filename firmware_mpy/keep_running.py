"""Keeps a part of the firmware going: an error that nobody expected ends neither the other parts nor the program."""

import asyncio
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_AGAIN_AFTER_S = 1


async def keep_running(part: "Callable[[], Awaitable[None]]") -> None:
    """Return once `part()` ends by itself; after an error, which is told to the log, run it again.

    What ends the program on purpose (a restart) does so here, too, and what is cancelled is.
    """
    while True:
        try:
            await part()
        except Exception as error:
            sys.print_exception(error)
        else:
            return
        await asyncio.sleep(_AGAIN_AFTER_S)
