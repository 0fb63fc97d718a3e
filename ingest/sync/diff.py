"""What the catalog wants less what the collection has: the rows that differ. Pure; it knows neither disk nor server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import row_digest, row_digests
from ingest.core.records import ImageFile, Reason, Skipped, Stage
from ingest.runtime.parallel import batched_within
from ingest.sync.inventory import ABSENT, Inventory, RowState, key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BATCH, _BATCH_S = 256, 0.05  # records looked up together, and how long the first of them may wait for the others
_STAGES_BEFORE = frozenset({Stage.CATALOG, Stage.IMAGES})
_UNREADABLE = frozenset({Reason.BAD_ROW, Reason.NO_ID})
_ADDED = "added"
_SAME, _FOREIGN = RowState.SAME, RowState.FOREIGN  # an enumeration's member costs a microsecond to look up


class CollectionDiff:
    """What a pass finds between the catalog and `there`, the rows of the collection as they were before it.

    `unreadable` counts rows of the catalog whose product cannot be told: any product may have been in them.
    """

    def __init__(self, there: Inventory, fingerprint: str) -> None:
        self.there = there
        self.unreadable = 0
        self._fingerprint = fingerprint
        self._counts: Counter[RowState | str] = Counter()

    @property
    def added(self) -> int:
        """Products that have no row yet."""
        return self._counts[_ADDED]

    @property
    def unchanged(self) -> int:
        """Products whose row is as it should be."""
        return self._counts[RowState.SAME]

    @property
    def changed(self) -> dict[str, int]:
        """Products whose row differs, by what has changed: the picture, the metadata, or both."""
        return {fate.name.lower(): self._counts[fate] for fate in (RowState.PICTURE, RowState.METADATA, RowState.BOTH)}

    @property
    def stale(self) -> int:
        """Rows of products that cannot be made anew; they are as good as they last were."""
        return self.there.count(RowState.FAILED)

    @property
    def gone(self) -> int:
        """Rows of products that the catalog does not name."""
        return self.there.count(RowState.GONE)

    @property
    def ours(self) -> int:
        """Rows that ingest wrote."""
        return len(self.there) - self.there.count(RowState.FOREIGN, RowState.DOUBLE)

    def changes(self, records: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Yield the pictures whose row is missing or differs, and every `Skipped`; drop what is in place already."""
        for batch in batched_within(records, _BATCH, _BATCH_S):
            pictures = [record for record in batch if isinstance(record, ImageFile)]
            fates = iter(self._judged(pictures))
            for record in batch:
                if isinstance(record, Skipped):
                    yield record
                    continue
                fate = next(fates)
                if fate is _FOREIGN:
                    yield _foreign(record)
                elif fate is not _SAME:
                    yield record

    def failures(self, records: Iterable[object]) -> Iterator[object]:
        """Pass everything on, and note of each `Skipped` at the end of the line what that means for its row."""
        for record in records:
            if isinstance(record, Skipped):
                self._fail(record)
            yield record

    def hold(self, product_id: str) -> None:
        """Take note that the catalog names a product about which nothing more is known yet."""
        place = int(self.there.find([key(product_id)])[0])
        if place != ABSENT and self.there.fates[place] == RowState.GONE:
            self.there.fates[place] = RowState.SAME

    def kind(self, product_id: str) -> str:
        """Return what a run does about a product that has come through: add it, or change what of its row."""
        place = int(self.there.find([key(product_id)])[0])
        return _ADDED if place == ABSENT else RowState(int(self.there.fates[place])).name.lower()

    def _judged(self, pictures: list[ImageFile]) -> list[RowState | None]:
        """Return the fate of each picture's row, None where there is none yet, and take note of it."""
        there = self.there
        places = there.find([key(picture.product.product_id) for picture in pictures])
        metadata = [picture.product.metadata for picture in pictures]
        digests = row_digests(metadata, [picture.sha256 for picture in pictures], self._fingerprint)
        same = there.same(places, digests)
        there.fates[places[same]] = _SAME
        self._counts[_SAME] += int(same.sum())
        judged: list[RowState | None] = [_SAME] * len(pictures)
        for at in np.flatnonzero(~same).tolist():
            fate = judged[at] = self._differing(int(places[at]), pictures[at])
            if fate is not _FOREIGN:
                self._counts[_ADDED if fate is None else fate] += 1
            if fate is not None:
                there.fates[places[at]] = fate
        return judged

    def _differing(self, place: int, picture: ImageFile) -> RowState | None:
        there = self.there
        if place == ABSENT:
            return None
        if there.fates[place] == _FOREIGN:
            return _FOREIGN
        before = there.sha256(place)
        if before == picture.sha256:
            return RowState.METADATA
        alone = there.digest(place) == row_digest(picture.product, before, self._fingerprint)
        return RowState.PICTURE if alone else RowState.BOTH

    def _fail(self, skipped: Skipped) -> None:
        self.unreadable += skipped.is_torn or skipped.reason in _UNREADABLE
        if not skipped.product_id or skipped.reason is Reason.DUPLICATE_ID:
            return  # of rows with one id the first one counts
        place = int(self.there.find([key(skipped.product_id)])[0])
        if place == ABSENT:
            self._counts[_ADDED] -= skipped.stage not in _STAGES_BEFORE
            return
        fate = RowState(int(self.there.fates[place]))
        if fate is RowState.FOREIGN:
            return
        if fate is not RowState.GONE:
            self._counts[fate] -= 1
        self.there.fates[place] = RowState.FAILED


def _foreign(picture: ImageFile) -> Skipped:
    detail = "the collection has a row of this id that ingest did not write; delete it, or rename the product"
    return picture.product.skipped(Stage.MILVUS, Reason.FOREIGN_ROW, detail)
