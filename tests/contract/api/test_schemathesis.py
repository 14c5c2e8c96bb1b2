"""Whatever is sent, the API answers as its OpenAPI document says: schemathesis with all its checks.

The owner of a tenant who is the site's admin asks, by an API token for everything or in a session.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from api.protection import Protection
from api.sessions import COOKIE
from tests.contract.api.corner import ApiCorner
from tests.servers import World

_CONFIG = """
seed = 1

[parameters]
"path.tenant_id" = "{tenant_id}"
"path.device_id" = "kitchen-kettle"
"path.user_id" = "{user_id}"
"path.event_type" = "wattaway.reading-recorded.v1"

[phases.coverage]
enabled = true

# A value may fit the schema and still mean nothing here: a cursor of another route, a day that is none. And whoever
# shows wrong passwords, however well-formed, is locked out.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# These would take what the others ask about out of use.
[[operations]]
include-name = "DELETE /api/v1/devices/{{device_id}}"
[operations.parameters]
"path.device_id" = "garage-heater"

# A stream without end.
[[operations]]
include-path = "/api/v1/live/events"
enabled = false
"""

_ASKERS = {
    "token": """
[auth.openapi.token]
bearer = "${API_TOKEN}"
""",
    "session": """
[headers]
X-CSRF-Token = "${API_CSRF}"

# Said so, and not as a header field, it is not replaced by generated ones.
[auth.openapi.session]
api_key = "${API_COOKIE}"

# It would be the last thing that is asked.
[[operations]]
include-name = "DELETE /api/v1/session"
enabled = false
""",
}


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


@pytest.fixture
def protection() -> Protection:
    often = dict.fromkeys(("tokens", "users", "devices", "strangers", "sign-in", "sign-up", "set-up"), "99999/minute")
    return Protection(sign_up="open", rate_limits=often)  # type: ignore[arg-type]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("asker", "examples"),
    [("token", 2), *(pytest.param(asker, 200, marks=pytest.mark.long) for asker in _ASKERS)],
)
async def test_no_server_error_and_nothing_undocumented(
    api: ApiCorner, tmp_path: Path, asker: str, examples: int
) -> None:
    guest = api.members.sign_up("guest")
    api.members.application.tenancy.add_member(api.owner.tenant_id, guest.user_id, "viewer", api.members.cause())
    api.members.register(api.owner.tenant_id, "garage-heater")
    api.add_device("kitchen-kettle")
    config = tmp_path / "schemathesis.toml"
    config.write_text(_CONFIG.format(tenant_id=api.owner.tenant_id, user_id=guest.user_id) + _ASKERS[asker])
    arguments = ["--config-file", str(config), "run", f"{api.base_url}/openapi.json"]
    limits = ["--max-examples", str(examples), "--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"]
    program = Path(sys.executable).with_name("schemathesis")
    person = await api.person()
    secrets = {"API_TOKEN": api.token, "API_COOKIE": person.cookies[COOKIE], "API_CSRF": person.headers["X-CSRF-Token"]}
    environment = os.environ | secrets | {"NO_COLOR": "1", "COLUMNS": "120"}
    running = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        *limits,
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
