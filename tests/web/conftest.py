"""A real browser in front of a running API on the embedded servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.contract.api.conftest import api as api
from tests.contract.api.conftest import application as application
from tests.contract.api.conftest import empty_api as empty_api
from tests.contract.api.conftest import firmware_keys as firmware_keys
from tests.contract.api.conftest import hasher as hasher
from tests.contract.api.conftest import protection as protection
from tests.servers import World

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
_FLAGS = (
    "--headless",
    "--incognito",  # cookies and cache in memory: a slow disk is not what is tested
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
def new_browser(tmp_path: Path) -> Iterator[Callable[[], webdriver.Chrome]]:
    """Starts Chromium, each time with a profile of its own."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        reason = "Chromium or its driver is not installed (Debian: apt-get install chromium chromium-driver)"
        pytest.fail(reason) if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1" else pytest.skip(reason)
    started: list[webdriver.Chrome] = []

    def start() -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*_FLAGS, f"--user-data-dir={tmp_path / f'profile-{len(started)}'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        started.append(webdriver.Chrome(options=options, service=Service(str(DRIVER))))
        return started[-1]

    try:
        yield start
    finally:
        for driver in started:
            driver.quit()


@pytest.fixture
def browser(new_browser: Callable[[], webdriver.Chrome]) -> webdriver.Chrome:
    return new_browser()
