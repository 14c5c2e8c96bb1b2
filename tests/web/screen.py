"""The page in a browser, asked from a test; and what is measured of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import Member

CHART = "(await import('/page/detail.js')).chart"
LISTED = "document.querySelectorAll('#sockets li').length"
IS_LIVE = "document.getElementById('link').dataset.state === 'live'"
CUT_OFF = """
document.getElementById('link').dataset.state = 'cut';
(await import("/page/app.js")).live.socket.close();
"""
NAMELESS = """return [...document.querySelectorAll('button, input, select, textarea, summary, a, svg[role=img]')]
  .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute('aria-label')
    || e.getAttribute('aria-labelledby') || e.labels?.length))
  .map((e) => e.outerHTML)"""
FETCHED = """return performance.getEntriesByType('resource')
  .map((e) => `${e.responseStatus} ${Math.round(e.startTime)}..${Math.round(e.responseEnd)} ms ${e.name}`).slice(-40)"""
# The contrast of every text with what is behind it, where it is below 4.5:1 (WCAG 2.2, 1.4.3).
CONTRAST = """
const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
const luminance = (rgb) => { const [r, g, b] = light(rgb); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
  }
  return [255, 255, 255];
};
const texts = 'h1,h2,h3,p,label,summary,.place,.label,' +
  '.value,.name,.power,.relay,.facts,button,figcaption,td,th,a,.link';
return [...document.querySelectorAll(texts)]
  .filter((e) => e.offsetParent && e.textContent.trim())
  .map((e) => {
    const a = luminance(parse(getComputedStyle(e).color).slice(0, 3));
    const b = luminance(behind(e));
    return [e.className || e.tagName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  })
  .filter(([, ratio]) => ratio < 4.5);
"""


class Screen:
    """The page, asked from a thread so that the API goes on meanwhile.

    Args:
        ready: awaited before the page is opened.
    """

    def __init__(self, browser: Chrome, base_url: str, *, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        self._browser, self._base_url, self._ready = browser, base_url, ready

    async def open(self, path: str = "/") -> None:
        if self._ready is not None:
            await self._ready()
        await asyncio.to_thread(self._browser.get, self._base_url + path)

    async def sign_in(self, member: Member) -> None:
        """Fill the form, as its person does."""
        await self.open()
        await self.fill("Sign in", email=member.email, password=member.password)
        await self.until("document.body.classList.contains('signed-in')")

    async def fill(self, label: str, **values: str) -> None:
        """Write into a form's fields and send it."""
        form = f"form[aria-label={json.dumps(label)}]"
        await self.until("document.querySelector(arguments[0])", form)
        for name, value in values.items():
            await self.act(f"{form} [name={name}]", partial(write, text=value))
        await self.click(f"{form} [type=submit]")

    async def text(self, selector: str) -> str:
        return str(await self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    async def run(self, script: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(self._browser.execute_script, script, *arguments)

    async def until(self, script: str, *arguments: Any) -> Any:
        """The first truthy result of the script."""

        def ask(browser: Chrome) -> Any:
            return browser.execute_script(f"return ({script})", *arguments)

        wait = WebDriverWait(self._browser, 60, poll_frequency=0.05)
        try:
            return await asyncio.to_thread(wait.until, ask)
        except TimeoutException as error:
            raise AssertionError(f"never true: {script} {arguments}\n{await self._seen()}") from error

    async def _seen(self) -> str:
        """What a person would look at first when the page does not do what it should."""
        place, text = await self.run("return [`${location} ${document.readyState}`, document.body.innerText]")
        fetched = await self.run(FETCHED)
        return "\n".join((f"at {place}: {text[:500]!r}", *fetched, *await self.complaints()))

    async def act(self, selector: str, deed: Callable[[WebElement], Any]) -> Any:
        return await asyncio.to_thread(lambda: deed(self._browser.find_element(By.CSS_SELECTOR, selector)))

    async def click(self, selector: str) -> None:
        await self.act(selector, lambda element: element.click())

    async def emulate(self, command: str, **parameters: Any) -> None:
        await asyncio.to_thread(self._browser.execute_cdp_cmd, command, parameters)

    async def severe(self) -> list[str]:
        """Complaints, but for the answers that are part of the game: nobody is signed in yet."""
        return [
            one for one in await self.complaints() if "/api/v1/session" not in one and "invitations/accept" not in one
        ]

    async def complaints(self) -> list[str]:
        log = await asyncio.to_thread(self._browser.get_log, "browser")
        return [entry["message"] for entry in log]


def screen_of(browser: Chrome, api: ApiCorner) -> Screen:
    """The page of an API that then knows what the test has decided behind its back."""
    return Screen(browser, api.base_url, ready=api.services.deciding.follower.catch_up)


def write(field: WebElement, text: str) -> None:
    """Replace what stands in a field; of a choice, choose."""
    if field.tag_name != "select" and field.get_attribute("type") != "file":
        field.clear()
    field.send_keys(text)
