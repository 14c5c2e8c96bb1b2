"""A real browser in front of a running API on the embedded servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.contract.api.conftest import api as api
from tests.servers import World

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
    "--lang=en-GB",
)


@pytest.fixture
def world(embedded_world: World) -> World:
    """The page is the same whatever stands behind the API: once is enough."""
    return embedded_world


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium with a profile of its own."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        reason = "Chromium or its driver is not installed (Debian: apt-get install chromium chromium-driver)"
        pytest.fail(reason) if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1" else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()
