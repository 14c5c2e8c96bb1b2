"""Coming in, switching, registering and inviting in a real browser, by everybody's rights."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest
from selenium.webdriver import Chrome
from sqlalchemy import insert

from domain.lifecycle.commands import Command
from projections.tables import read_model
from tests.contract.api.conftest import NOW_MS, SET_UP_CODE
from tests.contract.api.corner import ApiCorner, reading
from tests.web.screen import CONTRAST, NAMELESS, Screen, screen_of

pytestmark = pytest.mark.web

HOSTILE = "<img src=x onerror=document.title=1>"
FOLLOWED = """performance.getEntriesByType('resource')
  .map((one) => one.name.match(/commands\\/([0-9a-f-]{36})$/)?.[1]).filter(Boolean)"""
KETTLE = 'li[data-device="kettle"]'


@pytest.fixture
async def kettle(api: ApiCorner) -> ApiCorner:
    """A socket that is on, of olga's."""
    api.add_device("kettle", online=True, presence_at_ms=NOW_MS)
    api.add_readings("kettle", [reading(NOW_MS - 1000, 2_000_000, relay=1)])
    await api.show_latest("kettle")
    return api


@pytest.fixture
async def screen(browser: Chrome, empty_api: ApiCorner) -> Screen:
    return screen_of(browser, empty_api)


@pytest.fixture
async def second(new_browser: Callable[[], Chrome], empty_api: ApiCorner) -> AsyncIterator[Screen]:
    """Another person's browser."""
    yield screen_of(await asyncio.to_thread(new_browser), empty_api)


async def test_the_link_sets_a_fresh_installation_up_and_leaves_no_code_in_the_address(
    screen: Screen, empty_api: ApiCorner
) -> None:
    await screen.open(f"/#set-up={SET_UP_CODE.replace(' ', '%20')}")
    people = {"name": "Olga", "email": "olga@example.org", "password": "olga's long password"}
    await screen.fill("Set up", **people, tenant_name="Harbour")
    assert await screen.until("document.getElementById('who').textContent === 'Olga'")
    assert await screen.run("return location.hash") == ""
    assert empty_api.services.deciding.access.claimed
    await screen.until("!document.querySelector('[data-admin]').hidden && !document.getElementById('add').hidden")
    assert await screen.severe() == []


async def test_a_wrong_password_says_so_and_the_right_one_gets_in_and_out(screen: Screen, api: ApiCorner) -> None:
    await screen.open()
    await screen.fill("Sign in", email=api.owner.email, password="something else")
    assert await screen.until("document.querySelector('.form-error').textContent === 'wrong email or password'")
    await screen.fill("Sign in", email=api.owner.email, password=api.owner.password)
    await screen.until("document.getElementById('link').dataset.state === 'live'")
    await screen.click("#sign-out")
    await screen.until("document.querySelector('form[aria-label=\"Sign in\"]')")
    assert await screen.run("return document.querySelectorAll('#sockets li').length") == 0


async def answer(screen: Screen, api: ApiCorner, answered: set[str], *, rejected: str | None = None) -> None:
    """Play the dispatcher and the socket for the command that the page follows now."""
    new = await screen.until(f"({FOLLOWED}).find((id) => !arguments[0].includes(id))", sorted(answered))
    answered.add(new)

    def decide(one: Command) -> None:
        cause = api.members.cause()
        assert one.advance(cause, online=True)
        if rejected is None:
            one.acknowledge(cause, relay=False, reported_at=None)
        else:
            one.reject(cause, reason=rejected, reported_at=None)

    await asyncio.to_thread(api.members.application.lifecycle.change, Command, UUID(new), decide)


async def test_a_switch_shows_the_truth_only_after_the_socket_has_answered(screen: Screen, kettle: ApiCorner) -> None:
    await screen.sign_in(kettle.owner)
    switch = f"document.querySelector('{KETTLE} .switch')"
    await screen.until(f"{switch}?.getAttribute('aria-checked') === 'true'")
    await screen.click(f"{KETTLE} .socket")
    await screen.click("#switch")
    await screen.until("document.getElementById('command-state').textContent === 'switch off: requested'")
    assert await screen.run(f"return {switch}.getAttribute('aria-checked')") == "true"
    commands: set[str] = set()
    await answer(screen, kettle, commands)
    await screen.until("document.getElementById('command-state').dataset.state === 'acknowledged'")
    await screen.until(f"{switch}.getAttribute('aria-checked') === 'false'")
    await screen.click("#switch")
    await answer(screen, kettle, commands, rejected="overheated")
    await screen.until("document.getElementById('command-state').textContent.includes('overheated')")
    assert await screen.run(f"return {switch}.getAttribute('aria-checked')") == "false"


async def test_a_history_longer_than_a_page_is_shown_to_its_beginning(screen: Screen, kettle: ApiCorner) -> None:
    same = {"device_id": "kettle", "actor": f"user:{kettle.owner.user_id}", "why": "user", "type": "identify"}
    same |= {"order_json": "{}", "expires_at_ms": NOW_MS, "state": "expired", "correlation_id": "one", "version": 2}
    rows = [{"command_id": str(uuid4()), "requested_at_ms": NOW_MS - n, "attempts": 0, **same} for n in range(70)]
    with kettle.engine.begin() as connection:
        connection.execute(insert(read_model().lifecycle.commands), rows)
    await screen.sign_in(kettle.owner)
    await screen.until(f"document.querySelector('{KETTLE}')")
    await screen.click(f"{KETTLE} .socket")
    await screen.click("#history-part summary")
    shown = "document.querySelectorAll('#history tbody tr').length"
    await screen.until(f"{shown} === 50")
    await screen.click("#history .more")
    await screen.until(f"{shown} === 70 && document.querySelector('#history .more') === null")


async def test_a_viewer_is_offered_nothing_and_what_is_forced_is_refused(screen: Screen, kettle: ApiCorner) -> None:
    viewer = kettle.members.sign_up("vera")
    tenancy, cause = kettle.members.application.tenancy, kettle.members.cause()
    await asyncio.to_thread(tenancy.add_member, kettle.owner.tenant_id, viewer.user_id, "viewer", cause)
    await screen.sign_in(viewer)
    await screen.until(f"document.querySelector('{KETTLE} .relay')?.textContent === 'on'")
    assert await screen.run(f"return document.querySelector('{KETTLE} .switch').hidden")
    await screen.click(f"{KETTLE} .socket")
    hidden = "document.getElementById(arguments[0]).hidden"
    for part in ("controls", "name-part", "config-part", "meter-part", "shares-part", "token-part", "end-part"):
        assert await screen.run(f"return {hidden}", part), part
    await screen.run(f"document.querySelector('{KETTLE} .switch').hidden = false")
    await screen.click(f"{KETTLE} .switch")
    await screen.until("document.getElementById('message').dataset.kind === 'bad'")


async def test_a_socket_is_added_its_token_shown_once_and_its_name_stays_text(screen: Screen, api: ApiCorner) -> None:
    await screen.sign_in(api.owner)
    await screen.until("!document.getElementById('add').hidden")
    await screen.click("#add")
    await screen.fill("Add a socket", device_id="plug-1", name=HOSTILE, location=HOSTILE)
    token = await screen.until("document.querySelector('.secret')?.value")
    assert re.fullmatch("[0-9a-f]{64}", token)
    await screen.click(".dialog .act")
    name = "document.querySelector('li[data-device=plug-1] .name')?.textContent"
    await screen.until(f"{name} === arguments[0]", HOSTILE)
    await screen.click("li[data-device=plug-1] .socket")
    await screen.until("document.getElementById('detail-title').textContent === arguments[0]", HOSTILE)
    assert await screen.run("return document.querySelectorAll('main img').length") == 0
    assert token not in await screen.run("return document.documentElement.outerHTML")
    assert await screen.run("return document.title") == "WattAway"


async def test_wrong_lines_of_a_csv_are_named_and_nothing_is_added(screen: Screen, api: ApiCorner) -> None:
    await screen.sign_in(api.owner)
    await screen.until("!document.getElementById('add').hidden")
    await screen.click("#add")
    await screen.click(".dialog summary")
    await screen.fill("Add many sockets", text="device_id,name,location\ngood,Good,\nnot good,Bad,\n")
    await screen.until(
        "document.querySelector('.dialog [aria-label=\"Add many sockets\"] .form-error').textContent.includes('line 3')"
    )
    assert api.services.deciding.access.devices == {}


async def test_an_invitation_brings_a_second_person_in_as_what_it_says(
    screen: Screen, second: Screen, kettle: ApiCorner
) -> None:
    await screen.sign_in(kettle.owner)
    await screen.click("nav a[href='#people']")
    await screen.fill("Make an invitation")
    link = await screen.until("document.querySelector('.secret')?.value")
    await second.open(link[link.index("/#") :])
    await second.fill("Make the account", name="Vera", email="vera@example.org", password="vera's long password")
    await second.until("document.getElementById('who').textContent === 'Vera'")
    await second.until(f"document.querySelector('{KETTLE} .relay')?.textContent === 'on'")
    assert await second.run("return location.hash") == ""
    await screen.click(".dialog .act")
    await screen.until("document.getElementById('people').textContent.includes('Vera')")
    assert await second.severe() == []


async def test_a_dangerous_deed_asks_for_the_password_and_then_goes_on(screen: Screen, kettle: ApiCorner) -> None:
    await screen.sign_in(kettle.owner)
    await screen.until(f"document.querySelector('{KETTLE}')")
    kettle.clock.at_ms += 3_600_000
    await screen.click(f"{KETTLE} .socket")
    await screen.click("#end-part summary")
    await screen.until("document.querySelector('#end-part .act')")
    await screen.click("#end-part .act")
    await screen.fill("Take it out of use", typed="another")
    await screen.until("document.querySelector('.dialog .field-error:not([hidden])')")
    await screen.fill("Take it out of use", typed="kettle")
    await screen.fill("Continue", password=kettle.owner.password)
    await screen.until("document.querySelectorAll('#sockets li').length === 0")
    assert (await kettle.get("devices"))["items"] == [], "no refresh brings it back"
    assert not kettle.services.deciding.access.devices["kettle"].commissioned


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_is_legible_named_and_quiet_on_a_phone(screen: Screen, kettle: ApiCorner, scheme: str) -> None:
    await screen.emulate("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await screen.emulate("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    await screen.open()
    await screen.until("document.querySelector('#doors form')")
    await check(screen)
    await screen.sign_in(kettle.owner)
    for view in ("people", "account", "audit"):
        await screen.run("location.hash = arguments[0]", view)
        await screen.until("document.querySelector('#' + arguments[0] + ' form')", view)
        await check(screen)
    await screen.run("location.hash = 'sockets'")
    await screen.until(f"document.querySelector('{KETTLE} .name')?.clientWidth > 60")
    await screen.click(f"{KETTLE} .socket")
    for part in ("history", "name", "config", "shares", "token", "end"):
        await screen.click(f"#{part}-part summary")
        await screen.until(f"document.querySelector('#{part}-part .body').children.length")
    await check(screen)
    assert await screen.severe() == []


async def check(screen: Screen) -> None:
    assert await screen.run("return document.documentElement.scrollWidth") <= 360
    assert await screen.run(CONTRAST) == []
    assert await screen.run(NAMELESS) == []
