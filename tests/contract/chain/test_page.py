"""What a person does on the page goes through every role to the socket and back onto the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import count

import pytest
import pytest_asyncio
from selenium.webdriver import Chrome

from domain.clock import to_ms
from domain.wire import data_topic
from ops.simulator.mqtt_packets import encode_text
from tests.command_run import Plug, a_plug, raw_socket
from tests.full_chain import FullChain, ask
from tests.web.conftest import new_browser as new_browser
from tests.web.screen import Screen

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.web,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="package"),
]

NAMES = (f"desk-{number}" for number in count())
STATE = "document.getElementById('command-state').dataset.state"
HISTORY = "document.getElementById('history').textContent"
CONFIRMED = "Version 1, confirmed by the socket."
AUDIT = "[...document.querySelectorAll('#audit-list tbody tr')].map((row) => row.innerText)"


@pytest_asyncio.fixture(loop_scope="package")
async def desk(chain: FullChain) -> AsyncIterator[Plug]:
    """A socket of olga's that is on, and has said so with a reading."""
    name = next(NAMES)
    device_id = chain.world.device_id(name)
    token = chain.world.register(chain.olga.tenant_id, [device_id])[device_id]
    async with a_plug(chain.world, name, token=token) as plug:
        reading = {"boot": plug.device.boot, "seq": 1, "at": to_ms(datetime.now(UTC)), "power_mw": 98_200}
        plug.device.offer(1, json.dumps({**reading, "energy_mwh": 5, "relay": True}).encode())
        yield plug


async def new_screen(chain: FullChain, new_browser: Callable[[], Chrome]) -> Screen:
    return Screen(await asyncio.to_thread(new_browser), chain.base_url)


async def test_a_switch_on_the_page_reaches_the_socket_and_the_history_tells_who_did_it(
    chain: FullChain, desk: Plug, new_browser: Callable[[], Chrome]
) -> None:
    screen, item = await new_screen(chain, new_browser), f"li[data-device={desk.device.device_id}]"
    await screen.sign_in(chain.olga)
    await screen.until(f"document.querySelector('{item} .switch')?.textContent === 'on'")
    assert await screen.text(f"{item} .power") == "98.2 W"
    await screen.click(f"{item} .socket")
    await screen.click("#switch")
    await screen.until(f"{STATE} === 'acknowledged'")
    assert [command.relay for command in desk.acted] == [False]
    assert await screen.text("#switch") == "off"
    await screen.until("document.getElementById('why').textContent.includes('switch off by olga')")
    await screen.click("#history-part summary")
    await screen.until(f"/switch off.*olga.*acknowledged after [0-9.]+ m?s/.test({HISTORY})")
    await screen.click("#name-part summary")
    await screen.fill("Name and location", name="Desk lamp", location="Study")
    await screen.until(f"document.querySelector('{item} .name').textContent === 'Desk lamp'")
    await screen.click("#config-part summary")
    await screen.fill("Configuration", interval_ms="2")
    await screen.until("document.querySelector('#config-part .note').textContent === arguments[0]", CONFIRMED)
    await screen.click("#meter-part summary")
    await screen.fill("Meter", power_mw="1980")
    await screen.until("document.querySelector('#meter-part .note').textContent.includes('further off')")
    await screen.click("nav a[href='#audit']")
    await screen.fill("Filter", device=desk.device.device_id)
    for deed in ("command-requested", "device-described", "device-configured"):
        await screen.until(f"{AUDIT}.some((row) => row.includes('olga') && row.includes(arguments[0]))", deed)
    await screen.until(f"{AUDIT}.at(-1).includes('device-registered')")
    await screen.click("#audit-list tbody tr:last-child summary")
    await screen.click("#audit-list tbody tr:last-child button:nth-of-type(2)")
    await screen.until("document.querySelector('[name=subject]').value.startsWith('device:')")
    await screen.until(
        f"{AUDIT}.length > 1 && {AUDIT}.every((row) => row.includes(arguments[0]))", desk.device.device_id
    )
    assert await screen.severe() == []


async def test_what_a_socket_says_wrongly_is_shown_as_a_dead_letter(
    chain: FullChain, new_browser: Callable[[], Chrome]
) -> None:
    device_id = chain.world.device_id("mumbler")
    token = chain.world.register(chain.olga.tenant_id, [device_id])[device_id]
    screen, letters = await new_screen(chain, new_browser), "Number(document.getElementById('fleet-dead').textContent)"
    await screen.sign_in(chain.olga)
    await screen.until(f"{letters} >= 0")
    before = await screen.run(f"return {letters}")
    mumbler = await raw_socket(chain.world, "mumbler", token=token)
    mumbler.client.publish(encode_text(data_topic(device_id)), b"mumble")
    await screen.until(f"{letters} === arguments[0]", before + 1)
    await mumbler.client.disconnect()
    await screen.click("nav a[href='#audit']")
    # What comes into the list moves all that stands below it.
    await screen.until("document.querySelector('#audit-list')?.childElementCount > 0")
    await screen.click("#audit .card.more-part summary")
    rows = "document.querySelector('#audit .card.more-part .rows')?.textContent"
    await screen.until(f"{rows}.includes(arguments[0]) && {rows}.includes('not_json')", device_id)


async def test_a_share_that_its_owner_ends_leaves_the_guests_page_without_a_reload(
    chain: FullChain, desk: Plug, new_browser: Callable[[], Chrome]
) -> None:
    guest, item = chain.sign_up("gina@example.org"), f"li[data-device={desk.device.device_id}]"
    olga, gina = await new_screen(chain, new_browser), await new_screen(chain, new_browser)
    await asyncio.gather(olga.sign_in(chain.olga), gina.sign_in(guest))
    await gina.run("window.sinceThen = true")
    await olga.until(f"document.querySelector('{item}')")
    await olga.click(f"{item} .socket")
    await olga.click("#shares-part summary")
    await olga.fill("Share", email=guest.email, permission="see and switch it")
    await gina.until(f"document.querySelector('{item} .switch')?.textContent === 'on'")
    await gina.click(f"{item} .switch")
    await gina.until(f"document.querySelector('{item} .switch').textContent === 'off'")
    assert [command.relay for command in desk.acted] == [False]
    await olga.until("document.querySelector('[aria-label=\"End sharing with gina\"]')")
    await olga.click('[aria-label="End sharing with gina"]')
    await gina.until(f"document.querySelector('{item}') === null")
    assert await gina.run("return window.sinceThen")
    client = await chain.person(guest)
    await ask(client, "GET", f"devices/{desk.device.device_id}", 404)
