"""The live page in a real browser: what a person sees, clicks and hears from a screen reader."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, reading
from tests.web.screen import CHART, CONTRAST, NAMELESS, Screen, screen_of

pytestmark = pytest.mark.web

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture
async def screen(browser: Chrome, api: ApiCorner) -> Screen:
    """The page of three sockets; one of them is gone."""
    api.add_device("kettle", online=True, presence_at_ms=NOW_MS, firmware=HOSTILE)
    api.add_device("fridge", online=True, presence_at_ms=NOW_MS)
    api.add_device("gone", online=False, presence_at_ms=NOW_MS)
    for name, power_mw in (("kettle", 2_000_000), ("fridge", 90_000), ("gone", 4_000)):
        rows = [reading(NOW_MS - n * 30_000, power_mw + n, energy_mwh=90_000_000 - n * 700) for n in range(1, 2000)]
        api.add_readings(name, rows)
        await api.show_latest(name)
    page = screen_of(browser, api)
    await page.sign_in(api.owner)
    await page.until("document.getElementById('link').dataset.state === 'live'")
    await page.until("document.querySelectorAll('.socket').length === 3")
    return page


def live_reading(device_id: str, at_s: int, power_w: float) -> bytes:
    at = f"2026-10-26T09:08:{at_s:02}Z"
    members = {"device_id": device_id, "boot": "9f3a61c2", "seq": at_s, "measured_at": at, "received_at": at}
    return json.dumps({**members, "power_w": power_w, "relay": True}).encode()


POWER_OF = """[...document.querySelectorAll('#sockets li')]
  .find((item) => item.querySelector('.name').textContent === arguments[0])?.querySelector('.power').textContent"""
WATCH_AND_CUT = """
window.seen = [];
const link = document.getElementById('link');
new MutationObserver(() => seen.push(link.dataset.state)).observe(link, { attributes: true });
(await import("/page/app.js")).live.socket.close();
"""
ORIGINS = "return [...new Set(performance.getEntriesByType('resource').map((e) => new URL(e.name).host))]"


async def test_the_list_and_the_fleet_show_what_the_api_says_and_follow_the_feed(
    screen: Screen, api: ApiCorner
) -> None:
    assert await screen.until(f"{POWER_OF} === '2.00 kW'", "kettle")
    assert await screen.until("document.getElementById('fleet-online').textContent === '2 / 3'")
    assert "2.09 kW" in await screen.run("return document.getElementById('fleet-power').textContent")
    offline = await screen.run("return [...document.querySelectorAll('li.offline .name')].map(e => e.textContent)")
    assert offline == ["gone"]
    api.add_device("new-one")
    await api.get("devices")
    await api.publish("readings", [live_reading("kettle", 1, 42.5), live_reading("new-one", 1, 7)])
    assert await screen.until(f"{POWER_OF} === '42.5 W'", "kettle")
    assert await screen.until(f"{POWER_OF} === '7.0 W'", "new-one")
    await api.publish("presence", [b'{"device_id":"fridge","online":false,"at":"2026-10-26T09:08:02Z"}'])
    assert await screen.until("document.querySelectorAll('li.offline').length === 2")


async def test_a_click_opens_the_chart_and_the_resolution_can_be_chosen(screen: Screen, api: ApiCorner) -> None:
    await screen.click("#sockets li:nth-child(3) .socket")
    assert await screen.until("document.getElementById('detail-title').textContent === 'kettle'")
    await screen.until("document.querySelector('#chart path.line')")
    assert await screen.until("document.querySelector('#chart path.band')"), "24 h at 30 s are buckets"
    coarse = await screen.run(f"return {CHART}.points.length")
    await screen.click("[data-range='-1h']")
    await screen.click("[data-resolution='raw']")
    await screen.until(f"{CHART}.points.length > arguments[0]", coarse)
    assert (
        await screen.run("return document.querySelector('[data-resolution=raw]').getAttribute('aria-pressed')")
        == "true"
    )
    before = await screen.run(f"return {CHART}.points.length")
    await api.publish("readings", [live_reading("kettle", 9, 1234.5), live_reading("fridge", 9, 1)])
    await screen.until(f"{CHART}.points.at(-1).mean === 1234.5")
    assert abs(await screen.run(f"return {CHART}.points.length") - before) <= 2
    assert await screen.until("document.querySelectorAll('#days tr').length === 2")


async def test_text_from_a_device_is_never_markup(screen: Screen) -> None:
    await screen.click("#sockets li:nth-child(3) .socket")
    await screen.until("document.getElementById('facts').textContent.includes(arguments[0])", HOSTILE)
    assert await screen.run("return document.querySelectorAll('#facts *').length") == 0
    assert await screen.run("return document.title") == "WattAway"


async def test_everything_can_be_done_with_the_keyboard(screen: Screen) -> None:
    await screen.act("#sockets li:nth-child(1) .socket", lambda element: element.send_keys(Keys.ENTER))
    await screen.until(f"{CHART}.points.length > 0 && !document.getElementById('detail').hidden")
    assert await screen.run("return document.activeElement.id") == "detail-title"
    await screen.act("#chart", lambda element: element.send_keys(Keys.ARROW_LEFT))
    await screen.until("document.getElementById('chart-text').textContent.includes(' W')")
    await screen.act("#close", lambda element: element.send_keys(Keys.ESCAPE))
    await screen.until("document.getElementById('detail').hidden")
    assert await screen.run("return document.activeElement.querySelector('.name').textContent") == "fridge"


async def test_a_lost_connection_is_shown_and_comes_back(screen: Screen, api: ApiCorner) -> None:
    await screen.run(WATCH_AND_CUT)
    await screen.until("seen.includes('lost')")
    await screen.until("document.getElementById('link').dataset.state === 'live'")
    await api.publish("readings", [live_reading("kettle", 3, 11)])
    assert await screen.until(f"{POWER_OF} === '11.0 W'", "kettle")


async def test_search_and_order_find_a_socket(screen: Screen) -> None:
    await screen.act("#sort", lambda element: element.send_keys("by power"))
    names = "[...document.querySelectorAll('#sockets li:not([hidden]) .name')].map(e => e.textContent).join()"
    await screen.until(f"{names} === 'kettle,fridge,gone'")
    await screen.act("#search", lambda element: element.send_keys("FRI"))
    await screen.until(f"{names} === 'fridge'")


async def test_the_page_loads_nothing_from_elsewhere_and_breaks_no_policy(screen: Screen) -> None:
    await screen.click("#sockets li:nth-child(1) .socket")
    await screen.until("document.querySelector('#chart path.line')")
    origins = await screen.run(ORIGINS)
    assert origins == [await screen.run("return location.host")]
    await screen.open("/docs")
    assert await screen.until("document.querySelectorAll('.route').length > 10")
    assert await screen.severe() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_everything_legibly_without_scrolling_sideways(screen: Screen, scheme: str) -> None:
    await screen.emulate("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await screen.emulate("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    await screen.click("#sockets li:nth-child(2) .socket")
    await screen.until("document.querySelector('#chart path') && document.querySelectorAll('#days tr').length > 0")
    assert await screen.run("return document.documentElement.scrollWidth") <= 360
    assert await screen.run(CONTRAST) == []


async def test_every_control_has_a_name(screen: Screen) -> None:
    assert await screen.run(NAMELESS) == []
