"""The chart of single readings in a real browser: it never shows a hole where there is none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from selenium.webdriver import Chrome

from api.time_ranges import format_instant
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, instant_ms, reading
from tests.web.screen import CHART, CUT_OFF, IS_LIVE, LISTED, Screen, screen_of
from tests.web.test_page import live_reading

pytestmark = pytest.mark.web

LAST_HOUR, OUTAGE = range(1, 3600, 10), range(-599, 0, 10)
AFTER_OUTAGE_MS = NOW_MS + 600_000
LIVE_AT_MS = instant_ms("2026-10-26T09:08:20Z")
CAPTION = "document.getElementById('chart-text').textContent"
LINES = "document.querySelectorAll('#chart path.line').length"
SINGLES = "document.querySelectorAll('#chart circle.single').length"
DAYS = "document.getElementById('days').textContent"
# What the page does every 30 s, it does ten times a second.
HURRY = """
const every = window.setInterval;
window.setInterval = (deed, ms) => every(deed, ms === 30000 ? 100 : ms);
"""
# Readings asked for arrive when the test says so.
HOLD = """
const ask = window.fetch;
window.asked = 0;
const held = new Promise((go) => { window.letGo = go; });
window.fetch = async (address, ...more) => {
  const answer = await ask(address, ...more);
  if (String(address).includes('/readings?')) {
    window.asked += 1;
    await held;
  }
  return answer;
};
"""
BREAK = """
const ask = window.fetch;
const fails = (address) => String(address).includes('/readings?');
window.fetch = (address, ...more) => (fails(address) ? Promise.reject() : ask(address, ...more));
window.mend = () => { window.fetch = ask; };
"""


def add(api: ApiCorner, ages_s: Iterable[int]) -> None:
    """Readings of the kettle, so long before or after `NOW_MS`."""
    api.add_readings("kettle", [reading(NOW_MS - age_s * 1000, 2_000_000) for age_s in ages_s])


@pytest.fixture
async def screen(browser: Chrome, api: ApiCorner) -> Screen:
    """The page of a kettle that has sent nothing yet."""
    api.add_device("kettle", online=True, presence_at_ms=NOW_MS)
    page = screen_of(browser, api)
    await page.sign_in(api.owner)
    await page.until(f"{IS_LIVE} && {LISTED} === 1")
    return page


@pytest.fixture
async def hurried(screen: Screen) -> Screen:
    """The same, where half a minute is soon over."""
    await screen.emulate("Page.addScriptToEvaluateOnNewDocument", source=HURRY)
    await screen.open()
    await screen.until(f"{IS_LIVE} && {LISTED} === 1")
    return screen


async def open_kettle(screen: Screen, *, span: str, resolution: str) -> None:
    await screen.click("[data-device=kettle] .socket")
    await screen.click(f"[data-range='{span}']")
    await screen.click(f"[data-resolution='{resolution}']")


async def open_last_hour(screen: Screen, api: ApiCorner, *, resolution: str = "raw") -> None:
    add(api, LAST_HOUR)
    await open_kettle(screen, span="-1h", resolution=resolution)
    await screen.until(f"{CHART}.points.length === 360")


def go_on_unheard(api: ApiCorner) -> None:
    """Ten minutes of readings of which the page hears nothing."""
    add(api, OUTAGE)
    api.clock.at_ms = AFTER_OUTAGE_MS


async def shown(screen: Screen) -> tuple[int, str, str]:
    """How many points, the first and the last of them."""
    first, count, last = await screen.run(
        f"const {{ points }} = {CHART}; return [points[0].at, points.length, points.at(-1).at]"
    )
    return count, format_instant(first), format_instant(last)


async def test_of_too_many_readings_the_newest_are_shown_and_since_when(screen: Screen, api: ApiCorner) -> None:
    add(api, range(1, 7 * 3600))
    await open_kettle(screen, span="-24h", resolution="raw")
    await screen.until(f"/^Only the newest 19,350 readings, since .*:45:00/.test({CAPTION})")
    assert await shown(screen) == (19_350, "2026-10-26T03:45:00.000Z", "2026-10-26T09:07:29.000Z")
    axis = await screen.run(f"return {CHART}.range")
    assert [format_instant(at) for at in axis] == ["2026-10-26T03:45:00.000Z", "2026-10-26T09:07:30.000Z"]
    assert await screen.run(f"return [{LINES}, {SINGLES}]") == [1, 0]


async def test_readings_of_several_pages_that_a_chart_holds_are_all_shown(screen: Screen, api: ApiCorner) -> None:
    add(api, range(1, 19_000))
    await open_kettle(screen, span="-24h", resolution="raw")
    await screen.until(f"{CAPTION}.startsWith('18,999 points')")
    assert (await shown(screen))[2] == "2026-10-26T09:07:29.000Z"
    assert await screen.run(f"return {CHART}.range") == [NOW_MS - 86_400_000, NOW_MS]


@pytest.mark.parametrize("resolution", ["raw", "auto"])
async def test_what_was_missed_while_the_connection_was_lost_leaves_no_hole(
    screen: Screen, api: ApiCorner, resolution: str
) -> None:
    await open_last_hour(screen, api, resolution=resolution)
    go_on_unheard(api)
    await screen.run(CUT_OFF)
    await screen.until(f"{IS_LIVE} && {CHART}.points.at(-1).at === arguments[0]", AFTER_OUTAGE_MS - 1000)
    assert await screen.run(f"return [{LINES}, {SINGLES}]") == [1, 0]


async def test_what_the_feed_has_dropped_leaves_no_hole(screen: Screen, api: ApiCorner) -> None:
    await open_last_hour(screen, api)
    go_on_unheard(api)
    await api.redis.client_kill_filter(_type="pubsub")
    await screen.until(f"{CHART}.points.at(-1).at === arguments[0]", AFTER_OUTAGE_MS - 1000)
    assert await screen.run(f"return [{LINES}, {SINGLES}]") == [1, 0]


async def test_what_the_feed_says_while_the_chart_is_fetched_is_on_it(screen: Screen, api: ApiCorner) -> None:
    add(api, LAST_HOUR)
    await screen.run(HOLD)
    await open_kettle(screen, span="-1h", resolution="raw")
    await screen.until("asked")
    await api.publish("readings", [live_reading("kettle", 20, 42)])
    await screen.until("document.querySelector('#sockets .power').textContent === '42.0 W'")
    await screen.run("letGo()")
    await screen.until(f"{CHART}.points.length > 300 && {CHART}.points.at(-1).at === arguments[0]", LIVE_AT_MS)


async def test_what_the_feed_says_while_the_chart_is_fetched_anew_stays_on_it(screen: Screen, api: ApiCorner) -> None:
    await open_last_hour(screen, api)
    await screen.run(HOLD)
    await screen.run(CUT_OFF)
    await screen.until(f"{IS_LIVE} && asked === 1")
    await api.publish("readings", [live_reading("kettle", 20, 42)])
    await screen.until(f"{CHART}.points.at(-1).at === arguments[0]", LIVE_AT_MS)
    await screen.run(f"window.before = {CHART}.points; letGo()")
    await screen.until(f"{CHART}.points !== before && {CHART}.points.at(-1).at === arguments[0]", LIVE_AT_MS)


async def test_a_chart_that_could_not_be_fetched_anew_is_asked_for_again(hurried: Screen, api: ApiCorner) -> None:
    await open_last_hour(hurried, api)
    await hurried.run(BREAK)
    await hurried.run(CUT_OFF)
    await hurried.until(f"{CAPTION}.includes('could not be fetched')")
    await hurried.run("mend()")
    await hurried.until(f"{CHART}.points.length === 360")


async def test_the_table_of_days_follows_while_a_raw_chart_is_open(hurried: Screen, api: ApiCorner) -> None:
    add(api, LAST_HOUR)
    await open_kettle(hurried, span="-1h", resolution="raw")
    await hurried.until(f"{DAYS}.includes('2.00 kW')")
    api.add_readings("kettle", [reading(NOW_MS - 500, 3_000_000)], mark_dirty=False)
    await hurried.until(f"{DAYS}.includes('3.00 kW')")
