"""The parts of the straight line, opened once, and its stretches from the catalog to vectors on disk.

Nothing else decides the order of the stages: `pipeline` puts the stretches end to end.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ingest.catalog import reader
from ingest.catalog.rows import Columns
from ingest.core import contract as contracts
from ingest.core import missing_numbers
from ingest.core.errors import ContractError
from ingest.core.records import Decoded, Embedded, ImageFile, Product, Skipped, Stage
from ingest.embedding import encoder as embedding
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.device import check_device
from ingest.embedding.pixel_cache import PixelCache
from ingest.images.stage import ImageStage
from ingest.pipeline import workspace
from ingest.pipeline.report import too_many
from ingest.pipeline.spill import spill
from ingest.runtime import lock, parallel
from ingest.runtime.profiler import MODEL
from ingest.store import stage

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator

    from ingest.core.contract import Contract, Space
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.workspace import Workspace

T = TypeVar("T")

_BATCH = 64  # where the batch is not known before the model is; four of them wait twice over, 80 MB as CLIP sees them
_WAITING = 2048  # records that may wait in memory for Milvus: two upserts


class Pipeline:
    """The parts of the line for one command; each method is a stretch of it, from records to records.

    `opened` is `workspace.open_read_only` for a command that changes nothing.
    """

    def __init__(
        self, stack: ExitStack, settings: Settings, progress: Progress, stop: threading.Event,
        opened: Callable[[ExitStack, Settings, Space], Workspace] = workspace.open_for_writing,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.progress = progress
        self._clock = progress.clock
        self.stop = stop
        self.contract: Contract = contracts.load(settings.schema)
        next(self._catalog(), None)  # what is wrong with what was typed is said before anything is made or waited for
        too_many(0, 0, settings.max_skipped)
        if settings.data.is_dir():
            # a folder that a run holds is said before a model that cannot be used
            with lock.lock_folder_shared(settings.data):
                pass
        check_device(settings.device)
        self.checkpoint: Checkpoint = resolve(settings.model, settings.model_revision)
        self.space = self.checkpoint.space
        self.store, self.kept, self.wanted, self.cache, self.report = opened(stack, settings, self.space)
        self._stage = stack.enter_context(ImageStage(settings, self.cache, self._clock))
        saved = settings.data / "preprocessed"
        self.preprocessed = PixelCache(saved, self.checkpoint.preprocessing, exact=settings.exact)
        self.device = ""  # where pictures are embedded, as soon as one is
        self.example: ImageFile | None = None
        self._flows = stack.enter_context(ExitStack())  # entered last: no thread outlives what it works on

    def products(self) -> Iterator[Product | Skipped]:
        """Read the catalog: all of it, or the first `sample` products."""
        settings = self.settings
        self.progress.total = settings.sample or reader.estimate(settings.catalog)
        products = self._clock.within(Stage.CATALOG, _first(self._catalog(), settings.sample))
        return self.progress.counting(Stage.CATALOG, parallel.take_until(products, self.stop), (Product, Skipped))

    def check_complete(self, names: Collection[str], version: str) -> None:
        """Raise ContractError for the first product without one of these numbers, which a server keeps in no way."""
        if not names:
            return
        for product in parallel.take_until(_first(self._catalog(), self.settings.sample), self.stop):
            metadata = product.metadata if isinstance(product, Product) else {}
            if lacking := next((name for name in names if missing_numbers.is_nan(metadata.get(name))), ""):
                raise ContractError(
                    f"{self.settings.schema}: {product.product_id} has no {lacking}, and Milvus {version} keeps "
                    f"neither NaN nor null; give the field {lacking} a number that no product has to stand for it, "
                    "missing = -1.0, or upgrade Milvus to 2.5"
                )

    def pictures(self, *, download: bool = True) -> Iterator[ImageFile | Skipped]:
        """Have every product's picture on disk, and note what is wanted."""
        return self.noted(parallel.take_until(self._stage.find(self.products(), download=download), self.stop))

    def noted(self, pictures: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Note of pictures on disk, in the catalog's order, that they are wanted, and count them."""
        pictures = self.wanted.note(self._exemplified(pictures))
        return self.progress.counting(Stage.IMAGES, pictures, ImageFile)

    def pixels(self, pictures: Iterable[ImageFile | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode those whose vector the store does not know."""
        known = stage.lookup(self._clock.waiting(pictures), self.store)
        known = self._clock.within(Stage.STORE, known)
        return self.progress.counting(Stage.DECODE, self.decoded(known), Decoded)

    def decoded(self, pictures: Iterable[ImageFile | Embedded | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode every picture, known or not."""
        steps = self.checkpoint.preprocessing
        decode = self.preprocessed.wrap(self._stage.decoder(steps, steps.least))
        decode = self._clock.timed(Stage.DECODE, decode, ImageFile, _named)
        workers = self.settings.decode_workers or os.cpu_count() or 1
        return parallel.parallel_map(decode, pictures, workers=workers, ahead=self._ahead, here=_is_no_picture)

    def embedded(self, pictures: Iterable[ImageFile | Skipped]) -> Iterator[Embedded | Skipped]:
        """Give every picture its vector, from the store or from the model; new ones are on disk before they go on."""
        model = self.encoder()
        encoder = embedding.CountingEncoder(
            model,
            lambda pictures: self.progress.add(Stage.EMBEDDING, pictures),
            lambda: self._clock.working(Stage.EMBEDDING),
        )
        pixels = parallel.take_until(self._owned(parallel.prefetch(self.pixels(pictures), self._ahead)), self.stop)
        pixels = self._loading(self._clock.waiting(pixels), model)
        vectors = self._clock.waiting(embedding.embed(pixels, encoder, model.size))
        stored = stage.append(vectors, self.store, lambda: model.size().batch)
        stored = self._clock.within(Stage.STORE, stored)
        return self._tidied(self.progress.counting(Stage.STORE, stored, Embedded))

    def spilled(self, records: Iterable[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        """Let the stages before go on by themselves, also while Milvus is away for long."""
        return self._owned(spill(records, self.store, max(self._ahead, _WAITING), self.settings.data / "embeddings"))

    @property
    def too_many_skipped(self) -> bool:
        """Whether more products were skipped than --max-skipped allows."""
        return too_many(self.report.skipped, self.progress.items(Stage.CATALOG), self.settings.max_skipped)

    def halt(self) -> None:
        """End the threads of the stages; a generator that an error's traceback still holds does not end them itself."""
        self._flows.close()

    @property
    def _ahead(self) -> int:
        return 4 * (self.settings.batch or _BATCH)

    def _catalog(self) -> Iterator[Product | Skipped]:
        columns = Columns(self.settings.id_column, self.settings.image_column)
        return reader.read_catalog(self.settings.catalog, self.contract, columns)

    def _owned(self, records: Generator[T, None, None]) -> Iterator[T]:
        self._flows.enter_context(closing(records))
        return records

    def encoder(self) -> ClipEncoder:
        """Return the model, which loads when it is first needed."""
        return ClipEncoder(self.checkpoint, self.settings.device, self.settings.dtype, self.settings.batch)

    def _loading(
        self, records: Iterable[Decoded | Embedded | Skipped], model: ClipEncoder
    ) -> Iterator[Decoded | Embedded | Skipped]:
        """Load the model when the first picture for it comes, as work of its own."""
        for record in records:
            if isinstance(record, Decoded) and not self.device:
                with self._clock.working(MODEL):
                    model.size()
                self.device = model.devices[0]
            yield record

    def _exemplified(self, pictures: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        for record in pictures:
            if self.example is None and isinstance(record, ImageFile):
                self.example = record
            yield record

    def _tidied(self, records: Iterable[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        for record in records:
            if isinstance(record, Embedded):
                self.preprocessed.remove(record.sha256)
            yield record


def _named(record: ImageFile | Embedded | Skipped) -> str:
    return record.product_id if isinstance(record, Skipped) else record.product.product_id


def _is_no_picture(record: ImageFile | Embedded | Skipped) -> bool:
    return not isinstance(record, ImageFile)


def _first(records: Iterable[Product | Skipped], products: int) -> Iterable[Product | Skipped]:
    return islice(records, products) if products else records
