"""The page as a user operates it: reads, types, clicks, drops."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement
    from support.service import Service

PATIENCE_S = 20
_DROP = """
const [content, type] = arguments;
const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], "dropped.jpg", { type }));
for (const kind of ["dragover", "drop"])
  document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
"""
_PASTE = (
    _DROP.partition("for (const")[0]
    + """
document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
"""
)


class Page:
    """One browser window on one service."""

    def __init__(self, driver: Chrome, service: Service) -> None:
        self.driver = driver
        self.service = service

    def open(self, query: str) -> None:
        self.driver.get(self.service.address + query)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def look(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        return WebDriverWait(self.driver, PATIENCE_S, 0.05).until(lambda _: holds(), what)

    def shown(self) -> list[str]:
        """Return the titles in the grid, read at once so that it cannot change meanwhile; none while it is busy."""
        return self._of_each("card.querySelector('.name').textContent")

    def products(self) -> list[str]:
        """Return the product ids in the grid, as `shown` does."""
        return self._of_each("card.dataset.product")

    def _of_each(self, said: str) -> list[str]:
        values: list[str] = self.driver.execute_script(
            "return document.querySelector('#grid').hasAttribute('aria-busy') ? [] :"
            f" [...document.querySelectorAll('#grid .card')].map((card) => {said})"
        )
        return values

    def until_first(self, title: str) -> list[str]:
        """Wait until the first result has this in its title; return all titles."""
        titles: list[str] = self.until(
            lambda: (found := self.shown()) and title in found[0] and found, f"{title!r} comes first"
        )
        return titles

    def drop(self, image: Path) -> None:
        self.driver.execute_script(_DROP, base64.b64encode(image.read_bytes()).decode(), "image/jpeg")

    def paste(self, image: Path) -> None:
        self.driver.execute_script(_PASTE, base64.b64encode(image.read_bytes()).decode(), "image/jpeg")

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def seen(self) -> None:
        """Wait until every image in the window is loaded, and nothing fades."""
        self.until(
            lambda: self.driver.execute_script(
                "return getComputedStyle(document.querySelector('#grid')).opacity === '1' &&"
                " [...document.images].every((image) => image.complete || image.loading === 'lazy' &&"
                " image.getBoundingClientRect().top > innerHeight)"
            ),
            "all images are loaded",
        )
