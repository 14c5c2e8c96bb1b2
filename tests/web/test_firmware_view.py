"""Firmware in a real browser: an admin publishes a signed image, sees what is wrong with another, withdraws it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from domain.firmware_keys import TrustedKey, public_pem, read_public_keys
from tests.contract.api.corner import ApiCorner
from tests.firmware.signed_images import BOARD, image, key
from tests.web.screen import CONTRAST, NAMELESS, screen_of

pytestmark = pytest.mark.web
LIST = "(document.getElementById('releases')?.textContent ?? '')"
IS_CUT = "document.querySelector('#firmware .form-error')?.textContent.includes('the head says')"


@pytest.fixture
def firmware_keys() -> Sequence[TrustedKey]:
    return read_public_keys(public_pem(key(0)))


async def test_an_admin_publishes_and_withdraws_a_release(browser: Chrome, api: ApiCorner, tmp_path: Path) -> None:
    whole, cut = tmp_path / "release.wafw", tmp_path / "cut.wafw"
    whole.write_bytes(image(2))
    cut.write_bytes(image(2)[:-1])
    screen = screen_of(browser, api)
    await screen.sign_in(api.owner)
    await screen.click("nav a[href='#firmware']")
    await screen.until(f"{LIST} === 'No firmware was published yet.'")
    await screen.fill("Publish", image=str(cut))
    await screen.until(IS_CUT)
    await screen.fill("Publish", image=str(whole), notes="Größer")
    await screen.until(f"{LIST}.includes(arguments[0]) && {LIST}.includes('Größer')", f"{BOARD} 1.2.0")
    assert await screen.run(NAMELESS) == []
    assert await screen.run(CONTRAST) == []
    await screen.click("#releases button")
    await screen.fill("Withdraw", reason="drops the Wi-Fi")
    await screen.until(f"/withdrawn .*: drops the Wi-Fi/.test({LIST})")
    api.project()
    await screen.click("nav a[href='#account']")
    await screen.click("nav a[href='#firmware']")
    await screen.until(f"/withdrawn .*: drops the Wi-Fi/.test({LIST})")
    errors = await screen.severe()
    assert all("422" in one for one in errors), errors
