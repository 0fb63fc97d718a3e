"""Difference between catalog and collection: the rows that are missing, changed or stale. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.digest import row_digest, row_digests
from ingest.core.records import ImageFile, Reason, Skipped, Stage
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched_within
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.sync.inventory import Inventory
    from ingest.sync.served import ServedRows

_BATCH, _BATCH_S = 256, 0.05  # records looked up together, and how long the first of them may wait
_STAGES_BEFORE = frozenset({Stage.CATALOG, Stage.IMAGES})
_UNREADABLE = frozenset({Reason.BAD_ROW, Reason.NO_ID})
_ADDED = "added"
_SAME, _FOREIGN = RowState.SAME, RowState.FOREIGN  # looking up an enum member takes a microsecond


class CollectionDiff:
    """What a pass over the catalog finds; `inventory` are the rows of the collection before it.

    `served` is what apps find meanwhile, in that collection or in another one; None for nothing. `unreadable` counts
    rows of the catalog whose product is unknown; any product may be in them. `obstacles` are other reasons to delete
    nothing, in words.
    """

    def __init__(self, inventory: Inventory, fingerprint: str, served: ServedRows | None = None) -> None:
        self.inventory = inventory
        self.served = served
        self.unreadable = 0
        self.obstacles: list[str] = []
        self._fingerprint = fingerprint
        self._counts: Counter[RowState | str] = Counter()

    @property
    def added(self) -> int:
        """Products that have no row yet."""
        return self._counts[_ADDED]

    @property
    def unchanged(self) -> int:
        """Products whose row is up to date."""
        return self._counts[RowState.SAME]

    @property
    def changed(self) -> dict[str, int]:
        """Products whose row differs, by what has changed: the image, the metadata, or both."""
        return {
            state.name.lower(): self._counts[state] for state in (RowState.PICTURE, RowState.METADATA, RowState.BOTH)
        }

    @property
    def stale(self) -> int:
        """Rows that cannot be updated, because their product fails now; they stay as they were."""
        return self.inventory.count(RowState.FAILED)

    @property
    def gone(self) -> int:
        """Rows of products that are not in the catalog."""
        return self.inventory.count(RowState.GONE)

    @property
    def ours(self) -> int:
        """Rows that ingest wrote."""
        return len(self.inventory) - self.inventory.count(RowState.FOREIGN, RowState.DOUBLE)

    def have_image(self, images: Sequence[ImageFile]) -> list[bool]:
        """Return for each product whether its row is of this image, whatever its metadata; nothing is recorded."""
        places = self._places(images)
        return list(map(bool, self.inventory.same_images(places, [image.sha256 for image in images])))

    def note_same(self, images: Sequence[ImageFile]) -> NDArray[np.bool_]:
        """Record the products whose row is up to date; return which those are, (n,) bool. The others stay unjudged."""
        return self._note_same(self._places(images), images)

    def changes(self, records: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Yield images whose row is missing or differs, and every `Skipped`; drop the unchanged ones."""
        for batch in batched_within(records, _BATCH, _BATCH_S):
            states = iter(self._judge([record for record in batch if isinstance(record, ImageFile)]))
            for record in batch:
                if isinstance(record, Skipped):
                    self._counts[_ADDED] += self._is_taken_back(record)
                    yield record
                    continue
                state = next(states)
                if state is _FOREIGN:
                    yield _skip_foreign(record)
                elif state is not _SAME:
                    yield record

    def failures(self, records: Iterable[object]) -> Iterator[object]:
        """Pass everything on, and record what each `Skipped` at the pipeline's end means for its row."""
        for record in records:
            if isinstance(record, Skipped):
                self._fail(record)
            yield record

    def hold(self, product_id: str) -> None:
        """Record that a product is in the catalog, although nothing more is known about it yet."""
        place = int(self.inventory.find([product_id])[0])
        if place != ABSENT and self.inventory.states[place] == RowState.GONE:
            self.inventory.states[place] = RowState.SAME

    def distrust(self, product_ids: Iterable[str]) -> None:
        """Count unchanged rows as changed, because they are written again."""
        for place in self.inventory.find(list(product_ids)).tolist():
            if self.inventory.states[place] == RowState.SAME:
                self.inventory.states[place] = RowState.METADATA
                self._counts[RowState.SAME] -= 1
                self._counts[RowState.METADATA] += 1

    def kind(self, product_id: str) -> str:
        """Return what happens to a product that has come through: it is added, or which part of its row changes."""
        place = int(self.inventory.find([product_id])[0])
        return _ADDED if place == ABSENT else RowState(int(self.inventory.states[place])).name.lower()

    def _judge(self, images: list[ImageFile]) -> list[RowState | None]:
        """Return and record the state of each image's row; None if it has none yet."""
        inventory, places = self.inventory, self._places(images)
        same = self._note_same(places, images)
        states: list[RowState | None] = [_SAME] * len(images)
        for at in np.flatnonzero(~same).tolist():
            state = states[at] = self._compare(int(places[at]), images[at])
            if state is not _FOREIGN:
                self._counts[_ADDED if state is None else state] += 1
            if state is not None:
                inventory.states[places[at]] = state
        return states

    def _places(self, images: Sequence[ImageFile]) -> NDArray[np.int64]:
        return self.inventory.find([image.product.product_id for image in images])

    def _note_same(self, places: NDArray[np.int64], images: Sequence[ImageFile]) -> NDArray[np.bool_]:
        inventory, shas = self.inventory, [image.sha256 for image in images]
        digests = row_digests([image.product.metadata for image in images], shas, self._fingerprint)
        # The digest covers the image. A row that says it is of another one was changed by somebody else.
        same = inventory.same(places, digests) & inventory.same_images(places, shas)
        inventory.states[places[same]] = _SAME
        self._counts[_SAME] += int(same.sum())
        return same

    def _compare(self, place: int, image: ImageFile) -> RowState | None:
        inventory = self.inventory
        if place == ABSENT:
            return None
        if inventory.states[place] == _FOREIGN:
            return _FOREIGN
        before = inventory.sha256(place)
        if before == image.sha256:
            return RowState.METADATA
        digests = (row_digest(image.product, sha256, self._fingerprint) for sha256 in (before, image.sha256))
        same_metadata = inventory.digest(place) in digests
        return RowState.PICTURE if same_metadata else RowState.BOTH

    def _is_taken_back(self, skipped: Skipped) -> bool:
        """Return whether `failures` counts a product as not added after all.

        One of several images may have been decoded before the comparison, which then never sees the product.
        """
        if skipped.stage in _STAGES_BEFORE or not skipped.product_id or skipped.reason is Reason.DUPLICATE_ID:
            return False
        return int(self.inventory.find([skipped.product_id])[0]) == ABSENT

    def _fail(self, skipped: Skipped) -> None:
        self.unreadable += skipped.is_torn or skipped.reason in _UNREADABLE
        if not skipped.product_id or skipped.reason is Reason.DUPLICATE_ID:
            return  # of rows with the same id, the first counts
        place = int(self.inventory.find([skipped.product_id])[0])
        if place == ABSENT:
            self._counts[_ADDED] -= self._is_taken_back(skipped)
            return
        state = RowState(int(self.inventory.states[place]))
        if state is RowState.FOREIGN:
            return
        if state is not RowState.GONE:
            self._counts[state] -= 1
        self.inventory.states[place] = RowState.FAILED


def _skip_foreign(image: ImageFile) -> Skipped:
    detail = "the collection has a row with this id that ingest did not write; delete it, or rename the product"
    return image.product.skipped(Stage.MILVUS, Reason.FOREIGN_ROW, detail)
