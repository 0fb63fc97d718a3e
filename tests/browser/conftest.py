"""A real browser, Debian's chromium, with the service's page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from page import Page
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from support.service import Service, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--hide-scrollbars", "--lang=en-GB",
)  # fmt: skip
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


def missing(what: str) -> NoReturn:
    """Skip with a reason; fail on CI, where nobody would notice a skipped test."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        raise pytest.fail.Exception(f"the browser tests must not be skipped on CI: {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def driver() -> Iterator[webdriver.Chrome]:
    """Start chromium once."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if absent := [name for name, path in found.items() if path is None]:
        missing(f"{absent[0]} is not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Driver(found["chromedriver"]))
    yield made
    made.quit()


@pytest.fixture(scope="session")
def open_service(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve the same shop without a token, as on a developer's machine."""
    with serving(service.shop.copied_to(tmp_path_factory.mktemp("open") / "shop")) as made:
        yield made


@pytest.fixture
def page(driver: webdriver.Chrome, open_service: Service) -> Iterator[Page]:
    """Show the page 1600 pixels wide, in light colours; at the end, the console must be empty."""
    shown = Page(driver, open_service)
    driver.get("about:blank")  # the page before still asks a service that has ended
    shown.console()
    shown.size(1600, 1000)
    shown.look("light")
    shown.open("")
    yield shown
    assert shown.console() == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core."""
    if not AXE.is_file():
        missing(f"{AXE} does not exist: npm ci --prefix tests/browser")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Return the folder for screenshots: $INGEST_SCREENSHOTS, or build/screenshots."""
    folder = Path(os.environ.get("INGEST_SCREENSHOTS") or Path(__file__).parents[2] / "build" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
