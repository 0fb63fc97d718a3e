"""When the alias moves to a collection that a run has filled: not if too much is missing or a row is not as written."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import VerificationError
from ingest.milvus.collection import Collection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def refused_url() -> Iterator[str]:
    """A URL whose host refuses connections, which is a transient failure."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/a.jpg"


def unreachable(shop: SmallShop, url: str, count: int) -> None:
    """Let the last products of the catalog have an image that cannot be fetched today."""
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    for at in range(len(lines) - count, len(lines)):
        name, _, title = lines[at].split(",")
        lines[at] = f"{name},{url},{title}"
    shop.settings.catalog.write_bytes("".join(f"{line}\r\n" for line in [head, *lines]).encode())


@pytest.mark.parametrize(
    ("products", "missing", "said"),
    [
        (5, 1, "1 image could not be fetched today; run again, or allow it with --max-skipped"),
        (100, 1, ""),
        (100, 2, "2 images could not be fetched today; run again, or allow it with --max-skipped"),
    ],
)
def test_one_image_in_a_hundred_may_be_missing_for_today(
    tmp_path: Path, refused_url: str, products: int, missing: int, said: str
) -> None:
    shop = SmallShop(tmp_path, download_missing=True, allow_private=True, download_tries=1)
    shop.stock({f"P{number:03}": (number % 5, f"Product {number}") for number in range(products)})
    shop.run()
    before = shop.rows()
    unreachable(shop, refused_url, missing)

    failure = shop.run(model="model-2").failure

    assert (failure is None, said in str(failure)) == (not said, True)
    assert len(shop.rows()) == products - (0 if said else missing)
    assert (shop.rows() == before) == bool(said)
    if said:
        assert shop.run(model="model-2", max_skipped="50%", allow_smaller=True).failure is None


def test_a_sample_says_nothing_of_what_is_gone(shop: SmallShop) -> None:
    found, outcome = shop.plan(sample=2), shop.run(sample=2)
    assert (found.gone, outcome.summary.gone, outcome.notes) == (0, 0, ())
    assert (shop.run().summary.gone, len(shop.rows())) == (0, 5)


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Collection], None]) -> None:
    """Let somebody change the new collection when all rows are written."""
    flush = Collection.flush

    def flushed(collection: Collection) -> None:
        change(collection)
        flush(collection)

    monkeypatch.setattr(Collection, "flush", flushed)


def test_a_row_with_another_digest_than_was_written_keeps_the_alias_from_moving(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(collection: Collection) -> None:
        client = collection.connection.client
        (row,) = client.query(collection.name, filter='product_id == "P3"', output_fields=["*"])
        client.upsert(collection.name, [row | {"row_digest": "7" * 32}])

    before = shop.rows()
    with monkeypatch.context() as patch:
        changing(patch, change)
        with pytest.raises(
            VerificationError, match=f"row P3 has digest {'7' * 32}, not .*; the alias products was not"
        ):
            shop.run(model="model-2")
    assert shop.rows() == before


def test_the_first_five_differences_are_named(shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.stock(FIVE | {"P5": (5, "six")})
    changing(monkeypatch, lambda collection: collection.delete([f"P{number}" for number in range(6)]))
    with pytest.raises(VerificationError) as caught:
        shop.run(model="model-2")
    assert str(caught.value).count("is missing") == 5
