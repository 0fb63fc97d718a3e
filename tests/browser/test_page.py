"""The page in a real browser: search, filters, drop, links, history, and an empty console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from page import Page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from support.service import serving

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome
    from support.service import Service

QUESTION = "red striped mug"
VIEWS = {"search": "?q=red+striped+mug", "like": "?like=P0001&q=blue", "collection": "?tab=collection"}
READY = {"search": "#grid .card", "like": "#grid .card", "collection": ".legend button"}


def typed(page: Page, *keys: str) -> list[str]:
    page.one("#words").send_keys(QUESTION, *keys)
    page.until(lambda: "q=red+striped+mug" in page.driver.current_url, "the whole text is in the URL")
    return page.until_first("Red striped")


def test_typing_finds_products_with_titles_prices_and_scores(page: Page) -> None:
    titles = typed(page)

    assert all("mug" in title for title in titles[:4])
    first = page.one("#grid .card")
    assert float(first.find_element("css selector", ".price").text) > 0
    assert 0.3 < float(first.find_element("css selector", ".score").text.split()[-1]) <= 1
    assert page.one("#status").text.startswith("24 products")
    page.seen()
    assert page.driver.execute_script("return document.images[1].naturalWidth > 0")


def test_filters_come_from_the_collection_and_apply(page: Page) -> None:
    typed(page)
    page.driver.execute_script("arguments[0].click()", page.one(".chip input[value=bowls]"))
    page.until_first("bowl")
    assert all("bowl" in title for title in page.shown())
    for value in ("bowls", "mugs"):
        page.driver.execute_script("arguments[0].click()", page.one(f".chip input[value={value}]"))
    page.until(lambda: len(page.shown()) > 15 and all("mug" in title for title in page.shown()), "mugs are left")

    low = page.one("input[name=price][data-end=max]")
    low.send_keys("20", Keys.ENTER)
    page.until(lambda: "max.price=20" in page.driver.current_url and page.shown(), "the price is in the URL")
    assert all(float(price.text) <= 20 for price in page.all("#grid .price"))
    Select(page.one("select[name=colour]")).select_by_value("red")
    page.until(
        lambda: (titles := page.shown()) and all(title.startswith("Red") for title in titles), "red ones are left"
    )
    page.one("#clear").click()
    page.until(lambda: len(page.shown()) == 24, "all are back")
    assert page.driver.current_url.endswith("?q=red+striped+mug")


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_an_image_finds_similar_products(page: Page, way: str) -> None:
    image = page.service.shop.images / "P0001.jpg"
    if way == "choose":
        page.one("#file").send_keys(str(image))
    else:
        getattr(page, way)(image)
    page.until(lambda: page.shown() and "P0001" in page.products()[:3], "its own product is found")
    assert page.one("#grid .score").text.split()[-1] == "1.00"
    assert page.one(".part").text.startswith("Similar to your image")


def test_a_file_that_is_not_an_image_is_refused_with_the_reason(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    page.one("#file").send_keys(str(broken))

    page.until(lambda: "not a JPEG" in page.one("#status").text, "the reason is shown")
    [logged] = page.console()
    assert "400" in logged  # logged by the browser itself


def test_a_click_finds_similar_products_and_back_and_forward_work(page: Page) -> None:
    titles = typed(page)
    product = page.products()[0]
    page.one("#grid .card").click()
    page.until(lambda: (found := page.shown()) and found != titles, "similar products are shown")
    assert f"like={product}" in page.driver.current_url
    assert product not in page.products()
    page.until(lambda: "Red striped" in page.one(".part").text, "the product is named")

    page.driver.back()
    page.until(lambda: page.shown() == titles, "back shows the results before")
    assert page.one("#words").get_attribute("value") == QUESTION
    page.driver.forward()
    page.until(lambda: page.shown() and product not in page.products(), "forward shows similar products")


def test_an_image_is_still_the_query_after_going_back(page: Page) -> None:
    page.drop(page.service.shop.images / "P0001.jpg")
    page.until(lambda: page.shown() and "P0001" in page.products()[:3], "its own product is found")
    found = page.products()
    page.one("#grid .card").click()
    page.until(lambda: "like=" in page.driver.current_url and page.shown(), "similar products are shown")
    page.driver.back()
    page.until(lambda: page.shown() and page.products() == found, "the results of the image are back")


def test_a_reload_says_that_the_image_is_lost_and_words_search_again(page: Page) -> None:
    page.drop(page.service.shop.images / "P0001.jpg")
    page.until(lambda: page.shown() and "P0001" in page.products()[:3], "its own product is found")
    page.driver.refresh()
    page.until(lambda: "drop it here again" in page.one("#status").text, "the message is shown")
    typed(page)


def test_a_shared_link_shows_the_same_results(page: Page) -> None:
    page.open("?q=red+striped+mug&in.category=mugs&min.price=5&max.price=13&n=3")

    page.until_first("Red striped")
    assert len(page.shown()) == 3
    assert all(5 <= float(price.text) <= 13 for price in page.all("#grid .price"))
    assert page.one("#words").get_attribute("value") == QUESTION
    assert page.one(".chip input[value=mugs]").is_selected()


def test_a_filter_by_a_field_that_the_collection_lacks_is_ignored_and_named(page: Page) -> None:
    for link in ("?q=red+striped+mug&in.nosuch=x&max.weight=3", "?in.nosuch=x&max.weight=3"):
        page.open(link)
        page.until(lambda: "has no field weight" in page.one("#status").text, "the field is named")
        assert "The collection has no field nosuch, so it was not filtered by it." in page.one("#status").text
        assert len(page.shown()) == 24


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.until(page.shown, "some products are shown")
    typed(page, Keys.ENTER)
    page.one(".skip").send_keys(Keys.ENTER)
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert page.driver.switch_to.active_element.get_attribute("class") == "card"
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.until(lambda: "like=" in page.driver.current_url, "similar products are searched")


def test_the_collection_view_shows_counts_map_shared_images_and_skipped_products(page: Page) -> None:
    page.one("#tab-collection").click()
    page.until(lambda: page.all(".legend button"), "the map has a legend")
    text = page.one("#collection").text

    rows = page.service.ask("GET", "v1/collection").json()["rows"]
    assert f"products\n{rows}\n" in text
    assert "5 products share an image with another product" in text
    assert "not an image" in text
    assert "X1" in text
    assert page.service.ask("GET", "v1/contract").json()["collection"] in text

    canvas = page.one(".map canvas[tabindex]")
    page.driver.execute_script("arguments[0].focus()", canvas)
    ActionChains(page.driver).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP).perform()
    page.until(lambda: page.one(".hover").is_displayed() and page.one(".hover strong").text, "a dot is selected")
    page.seen()
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.until(lambda: "like=" in page.driver.current_url and page.shown(), "similar products are shown")


def test_the_map_draws_a_colour_field_in_its_colours_and_another_field_in_those_of_the_palette(page: Page) -> None:
    page.one("#tab-collection").click()
    page.until(lambda: page.all(".legend button"), "the map has a legend")
    assert not is_true(page), "categories are no colours"

    Select(page.one(".map select")).select_by_visible_text("colour")
    page.until(lambda: is_true(page), "each sign has the colour that its label names")
    assert page.console() == []


def is_true(page: Page) -> bool:
    """Return whether the legend's signs of plain colours have about those colours."""
    signs = page.driver.execute_script("""
        return Object.fromEntries([...document.querySelectorAll('.legend button')].map((button) => [
          button.querySelector('span').textContent,
          [...button.querySelector('canvas').getContext('2d').getImageData(14, 14, 1, 1).data].slice(0, 3)]))""")
    strongest = {"red": 0, "green": 1, "blue": 2}
    known = [name for name in strongest if name in signs]
    return bool(known) and all(max(range(3), key=signs[name].__getitem__) == strongest[name] for name in known)


def test_a_service_with_a_token_asks_for_it_once(driver: Chrome, service: Service) -> None:
    page = Page(driver, service)
    page.open("?q=mug")
    page.until(lambda: page.one("#token").is_displayed(), "the dialog is shown")
    page.one("#token").send_keys(service.token, Keys.ENTER)
    page.until_first("mug")
    page.seen()
    page.until(
        lambda: driver.execute_script("return document.querySelector('.tile img').naturalWidth > 0"),
        "images are loaded",
    )
    page.open("?tab=collection")
    page.until(lambda: page.all(".legend button"), "the token is not asked for again")
    assert page.console() == []


def test_a_token_may_have_any_letter(driver: Chrome, service: Service, tmp_path: Path) -> None:
    with serving(service.shop.copied_to(tmp_path / "shop"), token="Schlüssel-ключ-à") as made:
        page = Page(driver, made)
        page.open("?q=mug")
        page.until(lambda: page.one("#token").is_displayed(), "the dialog is shown")
        page.one("#token").send_keys(made.token, Keys.ENTER)
        page.until_first("mug")
        assert page.console() == []


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_at_either_width(
    page: Page, view: str, scheme: str, axe: str, screenshots: Path
) -> None:
    page.look(scheme)
    for width, height in ((1600, 1000), (360, 780)):
        page.size(width, height)
        page.open(VIEWS[view])
        page.until(lambda: page.all(READY[view]), "the view is shown")
        page.seen()
        page.driver.save_screenshot(str(screenshots / f"{view}-{width}-{scheme}.png"))
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        page.driver.execute_script(axe)
        found = page.driver.execute_async_script(
            "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then((found) => done(found.violations))"
        )
        serious = [
            (fault["id"], node["html"])
            for fault in found
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert serious == []
