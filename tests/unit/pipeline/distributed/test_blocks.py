"""Lost blocks are split, until the product to blame is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.core.records import Product, Reason
from ingest.pipeline.distributed.blocks import BlockItem, halves, skip_killer


def item(place: int) -> BlockItem:
    return BlockItem(place, Product(f"P{place}", "1.png", {}, place + 2), None, "", None)


@given(st.integers(1, 300), st.data())
def test_splitting_finds_every_product_that_kills_its_worker_and_no_other(size, data):
    guilty = data.draw(st.sets(st.integers(0, size - 1), max_size=4))
    todo, found, through, passes = [tuple(map(item, range(size)))], set(), [], 0
    while todo:
        lost = [block for block in todo if guilty & {one.place for one in block}]
        through += [one.place for block in todo if block not in lost for one in block]
        alone = [block for block in lost if len(block) == 1]
        found |= {block[0].place for block in alone}
        todo = [piece for block in lost if len(block) > 1 for piece in halves(block)]
        passes += 1
    assert found == guilty
    assert sorted([*through, *found]) == list(range(size))
    assert passes <= size.bit_length() + 2


def test_a_product_that_kills_its_worker_is_skipped_with_its_line():
    done = skip_killer(item(7), 3)
    (skipped,) = done.block.images
    assert (skipped.product_id, skipped.reason, skipped.line) == ("P7", Reason.KILLED_WORKER, 9)
    assert "3 times" in skipped.detail
