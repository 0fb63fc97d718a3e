"""What goes to Ray's workers and comes back: blocks of products, and what became of each. Pure; it knows no Ray."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Decoded, Embedded
    from ingest.images.cache.entry import CacheEntry, ImageContent


@dataclass(frozen=True, slots=True)
class BlockItem:
    """A product with its place in the catalog, and what is known of it beforehand.

    `digest` and `sha256` are its row's in the collection, in hex; `entry` is the picture cache's.
    """

    place: int
    product: Product
    digest: str | None
    sha256: str
    entry: CacheEntry | None


Block = tuple[BlockItem, ...]
"""Products that are worked on together; their vectors become one shard."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A block whose pictures are on disk: `pictures` in the block's order, `pending` those without a vector, as pixels.

    `known` are those whose row differs and whose vector the store has. `entries` and `contents` are what the picture
    cache has learnt.
    """

    places: tuple[int, ...]
    pictures: tuple[ImageFile | Skipped, ...]
    known: tuple[ImageFile, ...]
    pending: tuple[Decoded | Skipped, ...]
    entries: tuple[CacheEntry, ...]
    contents: tuple[tuple[bytes, ImageContent], ...]


@dataclass(frozen=True, slots=True)
class Done:
    """A block that is through: `results` of those that were pending, `shard` with their vectors, or "".

    `written` says that their rows are in the collection; they come without their vectors then.
    """

    places: tuple[int, ...]
    pictures: tuple[ImageFile | Skipped, ...]
    known: tuple[ImageFile, ...]
    results: tuple[Embedded | Skipped, ...]
    entries: tuple[CacheEntry, ...]
    contents: tuple[tuple[bytes, ImageContent], ...]
    shard: str = ""
    embedded: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What ends the run, on its way from a worker to the driver: our own error, or a bug's, with its traceback."""

    error: Exception
    trace: str


def halves(block: Block) -> tuple[Block, ...]:
    """Split a block that did not come back: one that is to blame is in one of the two, and nothing is in both."""
    middle = len(block) // 2
    return (block[:middle], block[middle:]) if middle else (block,)


def at_fault(item: BlockItem, times: int) -> Done:
    """Return what becomes of a product whose worker died each time, `times` times, with nothing else on its hands."""
    product = item.product
    detail = (
        f"the worker died {times} times at this product alone; look at its picture, and at the memory of the nodes "
        "(--decode-workers 1 without --engine ray shows what it is)"
    )
    skipped = product.skipped(Stage.DECODE, Reason.KILLED_WORKER, detail)
    return Done((item.place,), (skipped,), (), (), (), ())


@dataclass(slots=True)
class InOrder:
    """Puts blocks, which come back in any order and have products from anywhere, into the catalog's order.

    What waits is a picture's record and its result. Of a product that is skipped before it is sent, `put` is told too.
    """

    _next: int = 0
    _waiting: dict[int, tuple[ImageFile | Skipped, Embedded | ImageFile | Skipped | None]] = field(default_factory=dict)

    def put(self, places: Iterable[int], pictures: Iterable[ImageFile | Skipped],
            results: dict[str, Embedded | ImageFile | Skipped]) -> None:  # fmt: skip
        """Take in products by their places: each its picture, and what became of it where something did."""
        for place, picture in zip(places, pictures, strict=True):
            product_id = picture.product.product_id if isinstance(picture, ImageFile) else ""
            self._waiting[place] = picture, results.get(product_id)

    def due(self) -> Iterator[tuple[ImageFile | Skipped, Embedded | ImageFile | Skipped | None]]:
        """Yield what no earlier product is missing before."""
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1


def without_vectors(done: Done, results: Iterable[Embedded | Skipped]) -> Done:
    """Return a block whose rows are written, light enough to be sent far."""
    import numpy as np

    none = np.empty(0, np.float32)
    light = tuple(record if isinstance(record, Skipped) else replace(record, vector=none) for record in results)
    return replace(done, results=light, written=True)
