"""Blocks of products sent to Ray's workers, and what comes back for each. No code here depends on Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingest.core.records import Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Decoded, Embedded, ImageFile, Product
    from ingest.images.cache.entry import CacheEntry, ImageContent


class BlockItem(NamedTuple):
    """A product, its place among the exports' rows, and what the driver knows about it.

    `digest` and `sha256` are those of its row in the collection, in hex (None and "" without a row); `entry` is the
    image cache's, and `shared` that of another product that has downloaded the same URL. `unusable` says which URLs of
    a product with several are known to give no image.
    """

    place: int
    product: Product
    digest: str | None
    sha256: str
    entry: CacheEntry | None
    shared: CacheEntry | None = None
    unusable: tuple[tuple[bytes, str, str], ...] = ()


_NOWHERE = Path()

Block = tuple[BlockItem, ...]
"""Products processed together; their vectors become one shard."""


@dataclass(frozen=True, slots=True)
class FetchedBlock:
    """A block whose images are on disk: in the block's order, the items' places, and an image or `Skipped` of each.

    Only the first image comes with its path.

    `known` are the images whose row differs and whose vector is in the store. `entries`, `contents` and `unusable` are
    new to the image cache.
    """

    places: tuple[int, ...]
    images: tuple[ImageFile | Skipped, ...]
    known: tuple[ImageFile, ...] = ()
    entries: tuple[CacheEntry, ...] = ()
    contents: tuple[tuple[bytes, ImageContent], ...] = ()
    unusable: tuple[tuple[bytes, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A block ready for the model: `pending` are the images whose row differs and that have no vector, decoded.

    `seconds` is how long the stages have worked on it.
    """

    block: FetchedBlock
    pending: tuple[Decoded | Skipped, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """A finished block: the `results` of what was pending, and the `shard` with their vectors, "" if there is none.

    `keys` are the shard's, (n, 32) uint8. `written` are the products whose rows a worker has written, also those of
    images whose vector was in the store; of these there are no results. `decoded` and `embedded` are numbers of images,
    and `seconds` is how long each stage has worked on it.
    """

    block: FetchedBlock
    results: tuple[Embedded | Skipped, ...] = ()
    shard: str = ""
    keys: NDArray[np.uint8] | None = None
    decoded: int = 0
    embedded: int = 0
    written: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception on its way from a worker to the driver, with its traceback; it ends the run."""

    error: Exception
    trace: str


def halves(block: Block) -> tuple[Block, ...]:
    """Split a lost block in two, to narrow down which product is to blame."""
    middle = len(block) // 2
    return (block[:middle], block[middle:]) if middle else (block,)


def skip_killer(item: BlockItem, times: int) -> Done:
    """Return the block of a single product that killed its worker `times` times: the product is skipped."""
    product = item.product
    detail = (
        f"the worker died {times} times while it processed this product alone; check its image, and the memory of the "
        "nodes (to see the cause, run with --engine threads --decode-workers 1)"
    )
    skipped = product.skipped(Stage.DECODE, Reason.KILLED_WORKER, detail)
    return Done(FetchedBlock((item.place,), (skipped,)))


def without_paths(images: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
    """Leave its path to the first image only: what is sent to the driver is a third of it, and takes half the time."""
    is_first = True
    for record in images:
        if isinstance(record, Skipped):
            yield record
        else:
            yield record if is_first else record._replace(path=_NOWHERE)
            is_first = False
