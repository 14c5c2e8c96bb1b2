"""A list longer than a page, and one that others make shorter."""

from __future__ import annotations

import asyncio

import pytest
from selenium.webdriver import Chrome

from domain.lifecycle.sockets import NewDevice
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import Member
from tests.web.screen import CUT_OFF, IS_LIVE, LISTED, Screen, screen_of

pytestmark = pytest.mark.web

NAME_OF = "document.querySelector(`li[data-device=${arguments[0]}] .name`)?.textContent"


@pytest.fixture
def screen(browser: Chrome, api: ApiCorner) -> Screen:
    return screen_of(browser, api)


@pytest.fixture
async def many(screen: Screen, api: ApiCorner) -> Screen:
    """Olga's 230 sockets, of which the first page is listed."""
    new = [NewDevice(f"socket-{number:03}", f"Lamp {number}") for number in range(230)]
    await asyncio.to_thread(api.members.application.sockets.register, api.owner.tenant_id, new, api.members.cause())
    await screen.sign_in(api.owner)
    await screen.until(f"{IS_LIVE} && {LISTED} === 100")
    return screen


async def test_a_refresh_keeps_all_that_is_listed(many: Screen, api: ApiCorner) -> None:
    await many.click("#more")
    await many.until(f"{LISTED} === 200")
    await many.click("#more")
    await many.until(f"{LISTED} === 230 && document.getElementById('more').hidden && {IS_LIVE}")
    sockets, cause = api.members.application.sockets, api.members.cause()
    name = {"name": "The last lamp", "location": None}
    await asyncio.to_thread(sockets.describe, "socket-229", api.owner.tenant_id, cause, **name)
    await many.run(CUT_OFF)
    await many.until(f"{IS_LIVE} && {NAME_OF} === 'The last lamp'", "socket-229")
    assert await many.run(f"return {LISTED}") == 230
    assert await many.run("return document.getElementById('more').hidden")


async def test_who_looks_for_a_socket_finds_one_that_is_not_listed_yet(many: Screen) -> None:
    await many.act("#search", lambda field: field.send_keys("lamp 229"))
    await many.until("document.querySelector('li[data-device=socket-229]')?.checkVisibility()")
    assert await many.run("return document.querySelectorAll('#sockets li:not([hidden])').length") == 1


async def shared_with(api: ApiCorner) -> Member:
    """A guest with whom the kettle is shared."""
    api.members.register(api.owner.tenant_id, "kettle")
    guest, sockets = api.members.sign_up("guest"), api.members.application.sockets
    await asyncio.to_thread(sockets.share, "kettle", guest.user_id, "switch", api.members.cause())
    return guest


@pytest.mark.parametrize("own_sockets", [["lamp"], []])
async def test_a_share_that_ends_leaves_the_guests_page_at_once(
    screen: Screen, api: ApiCorner, own_sockets: list[str]
) -> None:
    guest = await shared_with(api)
    api.members.register(guest.tenant_id, *own_sockets)
    await screen.sign_in(guest)
    await screen.until(f"{IS_LIVE} && {LISTED} === arguments[0]", len(own_sockets) + 1)
    await screen.click("li[data-device=kettle] .socket")
    await screen.until("!document.getElementById('detail').hidden")
    await asyncio.to_thread(api.members.application.sockets.unshare, "kettle", guest.user_id, api.members.cause())
    await screen.until(f"{LISTED} === arguments[0]", len(own_sockets))
    assert await screen.run("return document.getElementById('detail').hidden")
    assert "not yours to see" in await screen.text("#message")
    assert await screen.run("return document.activeElement.id") == "sockets"


async def test_a_share_that_begins_is_on_the_guests_page_at_once(screen: Screen, api: ApiCorner) -> None:
    await shared_with(api)
    second = api.members.sign_up("second")
    await screen.sign_in(second)
    await screen.until(IS_LIVE)
    sockets = api.members.application.sockets
    await asyncio.to_thread(sockets.share, "kettle", second.user_id, "switch", api.members.cause())
    await screen.until("document.querySelector('li[data-device=kettle] .switch')?.checkVisibility()")
