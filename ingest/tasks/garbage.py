"""Vectors of the store that nothing uses: found by looking at every image of all catalogs, and moved to the trash.

Whatever cannot be looked at may use a vector. So an image that is missing, a row that cannot be read and a catalog that
seems to be cut are reasons to drop nothing.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.catalog import kept_profiles, reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY
from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError, ExportError, InterruptedRunError, PruneRefusedError
from ingest.core.records import ImageFile, Reason, Skipped
from ingest.core.wording import quantity
from ingest.exports import npy_files
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.images.stage import ImageStage
from ingest.milvus import alias, pages
from ingest.milvus.connection import connect
from ingest.milvus.loading import check_loaded
from ingest.pipeline.export_content import ExportContent, ExportPaths
from ingest.pipeline.last_good_images import exported_images
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.skipped import too_many
from ingest.runtime import lock, parallel
from ingest.store import maintenance
from ingest.sync.guard import ANY, MOST_LOST, guard
from ingest.sync.inventory import SHA256_BYTES, from_hex

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress

_LOOKED_AT = frozenset(
    {Reason.NO_IMAGE, Reason.DUPLICATE_ID, Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.TOO_SMALL, Reason.TOO_LARGE,
     Reason.BLANK}
)  # fmt: skip
"""Reasons after which it is known that a row uses no vector, but for that of its last good image."""


@dataclass(frozen=True, slots=True)
class GarbageOptions:
    """What may be dropped: shards older than `grace`, at most the share `max_drop` of the vectors.

    `also` are the other catalogs that use the store. At most `max_unseen` images, "50" or "5%", may be impossible to
    look at. With `allow_smaller` a catalog may lack products that apps find.
    """

    grace: str = "7d"
    also: Sequence[Settings] = ()
    max_drop: float = 0.2
    max_unseen: str = "0"
    allow_smaller: bool = False


@dataclass(slots=True)
class _Use:
    """What a catalog uses: the keys of its images, its product ids, its rows, and those that could not be looked at."""

    images: set[bytes] = field(default_factory=set)
    product_ids: set[str] = field(default_factory=set)
    rows: int = 0
    unseen: Counter[str] = field(default_factory=Counter)

    def note(self, records: Iterable[ImageFile | Skipped]) -> None:
        for record in records:
            self.rows += 1
            if isinstance(record, ImageFile):
                self.images.add(record.sha256)
                self.product_ids.add(record.product.product_id)
            else:
                self.product_ids.add(record.product_id)
                self.unseen.update([record.reason] if record.reason not in _LOOKED_AT else [])

    def check(self, catalog: Path | str, max_unseen: str) -> None:
        """Raise ConfigError if too many images could not be looked at."""
        count = self.unseen.total()
        if count and too_many(count, self.rows, max_unseen, "--max-unseen"):
            why = ", ".join(f"{reason} {number:,}" for reason, number in self.unseen.most_common())
            raise ConfigError(
                f"{catalog}: {quantity(count, 'image')} cannot be looked at ({why}), so that vectors may be in use "
                "that seem unused; get what is missing with ingest fetch, correct the catalog, or allow some with "
                "--max-unseen"
            )


def collect_garbage(
    settings: Settings, progress: Progress, stop: threading.Event, options: GarbageOptions,
    agreed: Callable[[int, int], bool],
) -> int:  # fmt: skip
    """Move the vectors that no image uses to the trash, and delete those that were there longer than the grace period.

    Returns how many rows were moved. `agreed(keys, young)` decides: it gets the number of unused keys, and of rows
    younger than the grace period. Raises ConfigError if some images cannot be looked at, and PruneRefusedError if too
    much would be dropped or a catalog seems to be cut; then nothing is changed.
    """
    grace_s = parse_duration(options.grace, "--grace")
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        used = _Use()
        used.note(pipeline.images(download=False))
        used.check(settings.catalog, options.max_unseen)
        exported = ExportContent(pipeline, ExportPaths(settings.npy, settings.npy_ids), None)
        images = used.images | {image for _, image in exported.pairs()}
        pipeline.cache.flush()
        shops: dict[tuple[str, ...], tuple[Settings, set[str]]] = {}
        for each, use in chain([(settings, used)], _others(settings, options, stop)):
            images |= use.images | exported_images(each.npy)
            target = (each.milvus_uri, each.db_name, contract_file.load(each.schema).alias)
            shops.setdefault(target, (each, set()))[1].update(use.product_ids)
        for each, product_ids in shops.values():
            images |= _served_images(each, product_ids, stop, allowed=options.allow_smaller)
        if stop.is_set():
            raise InterruptedRunError("interrupted; nothing was dropped")
        unused = maintenance.UnusedVectors(pipeline.store, images, grace_s)
        _check_share(unused, options.max_drop, pipeline.settings.store_place)
        if not agreed(unused.count(), unused.young):
            return 0
        trash = pipeline.open_trash()
        maintenance.empty(trash, maintenance.older(trash, grace_s))
        return unused.move_to(trash)


def restore(settings: Settings, progress: Progress, stop: threading.Event) -> int:
    """Move all that was dropped of the model's vectors back into the store; return how many."""
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        return maintenance.restore(pipeline.store, pipeline.open_trash())


def _others(settings: Settings, options: GarbageOptions, stop: threading.Event) -> Iterator[tuple[Settings, _Use]]:
    """Look at the images of the other catalogs; their data folders are not changed."""
    for each in options.also:
        with ExitStack() as stack:
            if each.data.absolute() != settings.data.absolute():
                stack.enter_context(lock.lock_folder_shared(each.data))
            cache = stack.enter_context(ImageCache(each.data / FOLDER, changes=False))
            stage = stack.enter_context(ImageStage(replace(each, download_missing=False), cache))
            columns = Columns.of(each, kept_profiles.recall(each))
            products = reader.read_catalog(each.catalog, contract_file.load(each.schema), columns)
            use = _Use()
            use.note(stage.find(parallel.take_until(products, stop), download=False))
            use.check(each.catalog, options.max_unseen)
            yield each, use


def _served_images(
    settings: Settings, product_ids: Collection[str], stop: threading.Event, *, allowed: bool
) -> set[bytes]:
    """Return the keys of the images of the rows that apps find.

    Raises PruneRefusedError if the catalogs lack too many of these products, or of those of the last export.
    """
    images: set[bytes] = set()
    found: set[str] = set()
    for rows in _served_rows(settings, stop):
        found.update(row[PRIMARY_KEY] for row in rows)
        shas, is_valid = from_hex([row[IMAGE_SHA256] for row in rows], SHA256_BYTES)
        images.update(map(bytes, shas[is_valid]))
    try:
        exported = set(npy_files.read_ids(settings.npy_ids))
    except ExportError:
        exported = set()
    for what, ids in (("that apps find", found), ("of the last export", exported)):
        lost = np.fromiter((product_id not in product_ids for product_id in ids), bool, len(ids))
        loss = guard(lost, len(ids), ANY if allowed else MOST_LOST)
        if loss.reason:
            raise PruneRefusedError(
                f"{settings.catalog}: lacks {loss.lost:,} of the {quantity(loss.served, 'product')} {what}, "
                f"{loss.reason}, so nothing was dropped; if it is complete, pass --allow-smaller"
            )
    return images


def _served_rows(settings: Settings, stop: threading.Event) -> Iterator[list[dict[str, str]]]:
    """Yield the rows that the alias serves; none if there is no alias, or no Milvus Lite file."""
    if "://" not in settings.milvus_uri and not Path(settings.milvus_uri).expanduser().exists():
        return
    with connect(settings.milvus, stop, reading=True) as connection:
        served = alias.alias_target(connection, contract_file.load(settings.schema).alias)
        if served is not None:
            check_loaded(connection, served)
            yield from pages.pages(connection, served, [PRIMARY_KEY, IMAGE_SHA256], "Strong")


def _check_share(unused: maintenance.UnusedVectors, max_drop: float, place: str) -> None:
    if unused.share > max_drop:
        raise PruneRefusedError(
            f"{place}: {quantity(unused.count(), 'vector belongs', 'vectors belong')} to no image, "
            f"{unused.share:.0%} of all, more than --max-drop "
            f"{max_drop:g} allows; nothing was dropped: name every catalog that uses the store (--also), or raise it"
        )
