"""The catalog is looked at as a whole before the first row is written, if apps have something to lose by it."""

from __future__ import annotations

from contextlib import closing
from math import ceil
from typing import TYPE_CHECKING

from ingest.core.errors import NotLiveError
from ingest.core.records import ImageFile, Stage
from ingest.sync.guard import ANY, are_other_products, most_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.served import ServedRows


class FirstWrite:
    """Compares all ids of the catalog with what apps find, once, when the first record is about to be written.

    A run that writes nothing does not read the catalog twice.
    """

    def __init__(self, pipeline: Pipeline, served: ServedRows | None) -> None:
        self._pipeline = pipeline
        self._served = served
        self._is_checked = False

    def before(self, records: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Pass records on; raises NotLiveError before the first image if `refusal` has a reason to write none."""
        for record in records:
            if isinstance(record, ImageFile):
                self.check()
            yield record

    def check(self) -> None:
        """Raise NotLiveError if nothing may be written; further calls do nothing."""
        if self._is_checked:
            return
        self._is_checked = True
        if why := self.refusal():
            raise NotLiveError(why)

    def refusal(self) -> str:
        """Read the ids of the whole catalog, and return why nothing may be written; "" if it may.

        With --sample too: the first products would go live under wrong ids as well.
        """
        served, settings = self._served, self._pipeline.settings
        allowed = ANY if settings.allow_smaller else settings.max_prune
        if served is None or not served.count or allowed == ANY:
            return ""
        enough = ceil((1 - most_missing(allowed)) * served.count)
        ids = self._pipeline.catalog_ids()
        with self._pipeline.progress.clock.working(Stage.CATALOG), closing(ids):
            lost, new, rows = served.lacking(ids, enough)
        if not are_other_products(lost, new, rows, allowed):
            return ""
        return (
            f"the catalog is about other products: {int(lost.sum()):,} of the {served.count:,} that apps find are not "
            f"in it, and {new:,} of its {rows:,} rows have a new id, so nothing was written; check --id-column "
            f"{settings.id_column}, or pass --allow-smaller if the ids are right"
        )
