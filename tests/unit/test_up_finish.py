"""The end of `wattaway up --duration S`: what it prints."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from ops import up_finish
from ops.settings import Settings
from ops.supervisor import Supervisor
from projections.verify import Verification
from tests.servers import settings_from


async def test_a_difference_is_printed_as_it_stands_whatever_brackets_are_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def caught_up(_settings: Settings) -> bool:
        return True

    difference = Verification("devices: [/x] is live, [bold]y[/bold] in the log")
    monkeypatch.setattr(up_finish, "verify_read_models", lambda _settings: difference)
    monkeypatch.setattr(up_finish, "_caught_up", caught_up)
    said = StringIO()
    code = await up_finish.finish(settings_from({}), Supervisor([]), (), Console(file=said))
    assert code == 1
    assert "devices: [/x] is live, [bold]y[/bold] in the log" in said.getvalue()
