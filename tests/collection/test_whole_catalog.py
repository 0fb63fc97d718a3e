"""A catalog that is not whole, or not written as before, deletes nothing, moves no alias and replaces no exports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from support.small_shop import SmallShop

from ingest.catalog import formats
from ingest.catalog.profile import PROPERTY, parse_profile
from ingest.core.errors import CatalogError, NotLiveError, PruneRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.catalog.profile import CatalogProfile

PRODUCTS = {f"P{number}": (number % 5, f"Product {number}") for number in range(20)}
LESS = {name: PRODUCTS[name] for name in list(PRODUCTS)[:18]}


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(PRODUCTS)
    shop.run()
    return shop


def kept(shop: SmallShop) -> CatalogProfile | None:
    """Return the profile that the served collection carries."""
    with shop.client() as client:
        return parse_profile(client.describe_collection("products").get("properties", {}).get(PROPERTY, ""))


def text(shop: SmallShop) -> str:
    return shop.settings.catalog.read_bytes().decode()


def rewrite(shop: SmallShop, content: str) -> None:
    shop.settings.catalog.write_bytes(content.encode())


def meanwhile(shop: SmallShop, change: Callable[[], None], **changes: object) -> None:
    """Run, and change the catalog when its rows have been read, before its end is noticed."""
    read = formats.read

    def reading(*args, **kwargs):
        yield from read(*args, **kwargs)
        change()

    with mock.patch.object(formats, "read", reading):
        shop.run(**changes)


def served(shop: SmallShop) -> tuple[str, list[str], list[bytes]]:
    """Return the collection that the alias serves, the ids in it, and the exported files."""
    with shop.client() as client:
        name = client.describe_collection("products")["collection_name"]
    return name, sorted(shop.rows()), [shop.settings.npy.read_bytes(), shop.settings.npy_ids.read_bytes()]


def replace_by(shop: SmallShop, content: bytes) -> None:
    other = shop.folder / "new.csv"
    other.write_bytes(content)
    other.replace(shop.settings.catalog)


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: replace_by(shop, shop.settings.catalog.read_bytes()),
        lambda shop: shop.settings.catalog.write_bytes(shop.settings.catalog.read_bytes()),
        lambda shop: rewrite(shop, text(shop) + "new,images/1.png,new\r\n"),
        lambda shop: shop.settings.catalog.unlink(),
    ],
    ids=["replaced", "the same bytes again", "appended to", "deleted"],
)
def test_a_catalog_that_changes_while_it_is_read_changes_nothing(shop, change):
    shop.run(exports=True)
    before = served(shop)
    for changes in ({"prune": True}, {"model": "model-2"}):
        shop.stock(LESS)
        with pytest.raises(CatalogError, match=r"products\.csv: (changed while it was read; run again|no such file)"):
            meanwhile(shop, lambda: change(shop), exports=True, **changes)
        assert served(shop) == before


def test_parts_and_links_are_watched_too(shop):
    parts, older, link = shop.folder / "v1", shop.folder / "v2", shop.folder / "current"
    for folder in (parts, older):
        folder.mkdir()
        (folder / "a.csv").write_bytes(text(shop).encode())
    link.symlink_to(parts)

    def add() -> None:
        (parts / "b.csv").write_bytes(b"product_id,image,title\r\nnew,images/1.png,new\r\n")

    def move() -> None:
        link.unlink()
        link.symlink_to(older)

    run = {"catalog": link, "images_root": shop.folder, "prune": True}
    with pytest.raises(CatalogError, match=r"changed while it was read \(b\.csv was added\)"):
        meanwhile(shop, add, **run)
    (parts / "b.csv").unlink()
    with pytest.raises(CatalogError, match="changed while it was read"):
        meanwhile(shop, move, **run)


@pytest.mark.parametrize("flags", [{"prune": True}, {"drop_failed": True}, {"prune": True, "max_prune": 1.0}])
def test_a_row_that_is_cut_off_is_neither_written_nor_deleted(shop, flags):
    before = shop.rows()
    rewrite(shop, text(shop).rstrip()[:-4])  # "Product 19" has become "Produc"

    found = shop.plan(**flags)
    if not flags.get("prune"):
        assert "the catalog is cut off (line 21" in found.refused
    if "prune" in flags:
        rewrite(shop, text(shop).replace("P7,", "Q7,"))
    with pytest.raises(PruneRefusedError, match=r"line 21 of products\.csv"):
        shop.run(**flags)

    after = shop.rows()
    assert {name: after[name] for name in before} == before


def test_rows_swallowed_by_two_stray_quotes_are_not_deleted(shop):
    for title in ("Product", "x" * 2000):  # used as a title, or too long for one
        shop.stock(PRODUCTS)
        lines = text(shop).splitlines()
        lines[8] = f'P7,images/2.png,"{title}'
        lines[11] = 'P10,images/0.png"'
        rewrite(shop, "\r\n".join(lines) + "\r\n")
        assert "lines 9 to 12 of products.csv" in shop.plan(prune=True).refused
        with pytest.raises(PruneRefusedError, match=r"lines 9 to 12 of products\.csv"):
            shop.run(prune=True)
        assert shop.rows().keys() == PRODUCTS.keys()


def test_the_collection_keeps_a_profile_without_secrets_and_a_second_run_does_not_write_it(shop):
    first = kept(shop)
    assert first is not None
    assert (first.columns, first.dialect, first.rows) == (("product_id", "image", "title"), "CSV, CR LF", 20)
    with mock.patch("ingest.milvus.properties.set_properties") as written:
        shop.run()
    assert not written.called


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.replace("title", "name"), "the column 'title' is gone; the column 'name' is new"),
        (lambda content: content.replace("\r\n", "\n"), "the format was 'CSV, CR LF' and is 'CSV, LF'"),
        (lambda content: "\ufeff" + content, "the encoding was 'UTF-8' and is 'UTF-8 with a byte order mark'"),
    ],
)
def test_a_changed_catalog_is_named_and_deletes_nothing_until_it_is_accepted(shop, change, words):
    shop.stock(LESS)
    rewrite(shop, change(text(shop)))

    found = shop.plan(prune=True)
    assert words in found.refused
    assert words in found.catalog_changes[0]
    for _ in range(2):  # the second night as the first
        with pytest.raises(PruneRefusedError, match="--accept-changed-catalog"):
            shop.run(prune=True)
        assert words in shop.report()["notes"][0]
    assert any(words in note for note in shop.run().notes), "a run without --prune does not accept it either"
    assert len(shop.rows()) == 20

    assert shop.run(prune=True, accept_changed_catalog=True).summary.deleted == 2
    assert shop.plan(prune=True).catalog_changes == []


def test_a_change_with_nothing_to_delete_is_named_once(shop):
    rewrite(shop, text(shop).replace("\r\n", "\n"))
    assert any("the format was" in note for note in shop.run(prune=True).notes)
    assert shop.run(prune=True).notes == ()


def test_a_property_that_is_broken_or_missing_judges_nothing(shop):
    with shop.client() as client:
        name = client.describe_collection("products")["collection_name"]
        client.alter_collection_properties(name, {PROPERTY: json.dumps(["what?"])})
    shop.stock(LESS)
    rewrite(shop, text(shop).replace("\r\n", "\n"))
    assert shop.run(prune=True).summary.deleted == 2
    assert kept(shop).dialect == "CSV, LF"


def test_a_new_collection_compares_with_the_profile_of_the_served_one(shop):
    rewrite(shop, text(shop).replace("\r\n", "\n"))
    outcome = shop.run(model="model-2")
    assert any("the format was" in note for note in outcome.notes)
    assert not isinstance(outcome.failure, NotLiveError)
    assert kept(shop).dialect == "CSV, LF"
