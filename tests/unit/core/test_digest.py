"""The digest of a row: what it covers, and that it stays what it is in collections that are there."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ingest.core.digest import row_digest, row_digests
from ingest.core.records import Product

FINGERPRINT = "2f04a7760ee63c75"
PICTURE = bytes(range(32))


def product(**metadata) -> Product:
    return Product("a", "a.jpg", metadata, 2)


def test_a_row_digest_changes_with_the_picture_the_space_and_the_metadata():
    before = row_digest(product(price=1.5), PICTURE, FINGERPRINT)
    assert len(before) == 32
    assert before == row_digest(product(price=1.5), PICTURE, FINGERPRINT)
    others = {
        row_digest(product(price=1.5), bytes(32), FINGERPRINT),
        row_digest(product(price=1.5), PICTURE, "0" * 16),
        row_digest(product(price=1.75), PICTURE, FINGERPRINT),
        row_digest(product(price="1.5"), PICTURE, FINGERPRINT),
        row_digest(product(cost=1.5), PICTURE, FINGERPRINT),
        row_digest(product(), PICTURE, FINGERPRINT),
    }
    assert len(others) == 6
    assert before not in others


def test_a_price_that_is_not_known_has_a_digest_that_stays():
    assert row_digest(product(price=math.nan), PICTURE, "f") == row_digest(product(price=float("nan")), PICTURE, "f")


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.floats(), st.booleans()), max_size=6)
)
def test_a_row_digest_does_not_hang_on_the_order_of_columns(metadata):
    backwards = dict(reversed(metadata.items()))
    forth = Product("a", "a.jpg", metadata, 2)
    back = Product("b", "b.jpg", backwards, 9)
    assert row_digest(forth, PICTURE, "f") == row_digest(back, PICTURE, "f")


@given(st.lists(st.builds(product, title=st.text(), price=st.floats()), max_size=4))
def test_digests_taken_at_once_are_what_each_is_alone(products):
    digests = row_digests([each.metadata for each in products], [PICTURE] * len(products), "f")
    assert [digest.hex() for digest in digests] == [row_digest(each, PICTURE, "f") for each in products]


def test_a_row_digest_stays_what_it_is_in_collections_that_are_there():
    row = product(title="Mug\ud800 é", price=math.nan, stock=3, new=True, brand="")
    assert row_digest(row, PICTURE, FINGERPRINT) == "5c2e3113b5e4ae3e6cc2d1fb896c4a35"
