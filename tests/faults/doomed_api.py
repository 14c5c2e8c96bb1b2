"""An API that is killed while it answers a request that decides something: `python -m tests.faults.doomed_api STEP`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from api.deciding import Deciding
from domain.lifecycle.entity import Entity
from domain.lifecycle.lifecycle import Lifecycle
from ops.logs import configure_logging
from ops.run_role import run_api
from ops.settings import load_settings
from tests.faults.doomed_projector import Doom

STEPS = ("to be stored", "stored", "to be answered")


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, "api")
    _watch(Doom(sys.argv[1], 1))
    run_api(settings)


def _watch(on_step: Callable[[str], None]) -> None:
    store, decide = Lifecycle.store, Deciding.decide

    def watched_store(self: Lifecycle, *aggregates: Entity, **more: Any) -> int:
        on_step("to be stored")
        newest = store(self, *aggregates, **more)
        on_step("stored")
        return newest

    async def watched_decide(self: Deciding, work: Callable[[], Any], **more: Any) -> Any:
        result = await decide(self, work, **more)
        on_step("to be answered")
        return result

    Lifecycle.store = watched_store  # type: ignore[method-assign]
    Deciding.decide = watched_decide  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
