"""The pipeline's resources and its stages, in order, from the catalog to vectors on disk."""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ingest.catalog import files, kept_profiles, reader
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import Columns
from ingest.catalog.validation import image_fields
from ingest.core import contract_file, missing_numbers
from ingest.core.errors import AmbiguousCatalogError, ContractError
from ingest.core.records import Decoded, Embedded, ImageFile, Product, Skipped, Stage
from ingest.embedding import encoder as embedding
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.device import check_device, expects_gpu
from ingest.embedding.pixel_cache import PixelCache
from ingest.exports.field_list import ExportFields
from ingest.images.decode.shared_rows import SlotLayout
from ingest.images.stage import ImageStage
from ingest.pipeline import workspace
from ingest.pipeline.early_load import EarlyLoad
from ingest.pipeline.skipped import too_many
from ingest.pipeline.spill import spill
from ingest.runtime import lock, parallel
from ingest.runtime.profiler import MODEL
from ingest.store import stage
from ingest.store.shard_writer import ShardWriter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

    from ingest.catalog.profile import CatalogProfile
    from ingest.core.contract import Contract, Space
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.images.unread_files import IsKnown
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.workspace import Workspace

T = TypeVar("T")

_BATCH = 64  # assumed until the model is loaded; two look-aheads of four such batches take 80 MB of CLIP's pixels
_AHEAD_BYTES = 256 * 2**20  # of pixels that may wait for a GPU, whose batches are up to 512: 1,700 images of CLIP
_WAITING = 2048  # records that may wait in memory for Milvus: two upserts


class Pipeline:
    """The resources of one command; the methods are stages, generators from records to records.

    `opened` opens the workspace: `workspace.open_read_only` for a command that changes nothing. `last_profile`, set by
    commands that compare with a collection, is of the catalog that it was filled from.
    """

    def __init__(
        self, stack: ExitStack, settings: Settings, progress: Progress, stop: threading.Event,
        opened: Callable[[ExitStack, Settings, Space], Workspace] = workspace.open_for_writing,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.progress = progress
        self._clock = progress.clock
        self.stop = stop
        self.contract: Contract = contract_file.load(settings.schema)
        self.listed = files.list_files(settings.catalog)  # what every pass of this command must find unchanged
        self.last_profile: CatalogProfile | None = None
        self.recorder = CatalogRecorder()
        self._kept_profile = kept_profiles.recall(settings)
        self._columns = Columns.of(settings, self._kept_profile)
        with suppress(AmbiguousCatalogError):  # how the catalog was read last time may decide
            next(self._catalog(self.recorder), None)  # raises errors in the options before anything is created
        too_many(0, 0, settings.max_skipped)
        if settings.data.is_dir():
            # raises BusyError before any error about the model
            with lock.lock_folder_shared(settings.data):
                pass
        check_device(settings.device)
        self.checkpoint: Checkpoint = resolve(settings.model, settings.model_revision)
        self.space = self.checkpoint.space
        work = opened(stack, settings, self.space)
        self.store, self.kept, self.wanted = work.store, work.kept, work.wanted
        self.cache, self.report, self.open_trash = work.cache, work.report, work.open_trash
        self.fields = ExportFields(self.wanted.folder, self.contract.fields) if settings.parquet else None
        if self.fields is not None:
            stack.callback(self.fields.close)
        fields = image_fields(self.contract, settings.image_column)
        self._stage = stack.enter_context(ImageStage(settings, self.cache, self._clock, fields))
        self._decoder = self._stage.decoder(self.checkpoint.preprocessing)
        saved = settings.data / "preprocessed"
        self.preprocessed = PixelCache(saved, self.checkpoint.preprocessing, exact=settings.exact)
        self._expect_model: Callable[[], None] = lambda: None  # called when an image has no vector yet
        self.device = ""  # known when the first image is embedded
        self.example: ImageFile | None = None
        self._flows = stack.enter_context(ExitStack())  # entered last, so that its threads end before the rest closes

    def compare_with(self, last: CatalogProfile | None) -> None:
        """Compare the catalog with how it was when it was last read, and read it as then."""
        self.last_profile = last
        self.read_as(last)

    def read_as(self, last: CatalogProfile | None) -> None:
        """Read the catalog as it was last read, where it can be read in two ways; if unknown, as the last run did."""
        said = self._columns.options.memory.said
        self._columns = Columns.of(self.settings, last or self._kept_profile)
        self._columns.options.memory.said |= said

    def products(self) -> Iterator[Product | Skipped]:
        """Read the catalog: all products, or the first `sample`; `recorder` gets what else this pass shows."""
        settings = self.settings
        self.recorder = CatalogRecorder(self.last_profile, accepts=settings.accept_changed_catalog)
        self.progress.total = settings.sample or reader.estimate(settings.catalog)
        products = self._clock.within(Stage.CATALOG, _first(self._catalog(self.recorder), settings.sample))
        if self.fields is not None:
            products = self.fields.note(products)
        return self.progress.count(Stage.CATALOG, parallel.take_until(products, self.stop), (Product, Skipped))

    def catalog_ids(self) -> Generator[list[str], None, None]:
        """Read the catalog again, and yield the product ids of its rows, in blocks."""
        return reader.read_ids(self.settings.catalog, self.contract, self._columns, self.listed)

    def images_of(self, product_ids: Collection[str]) -> Iterator[ImageFile | Skipped]:
        """Read the catalog again, and yield the images of these products that are on disk; nothing is counted."""
        return self._stage.find(self.products_of(product_ids), download=False)

    def products_of(self, product_ids: Collection[str]) -> Iterator[Product]:
        """Read the catalog again, and yield these products."""
        for product in parallel.take_until(_first(self._catalog(), self.settings.sample), self.stop):
            if isinstance(product, Product) and product.product_id in product_ids:
                yield product

    def check_complete(self, names: Collection[str], version: str) -> None:
        """Raise ContractError for the first product that lacks one of these numbers, if the server cannot store that.

        `names` are the fields for which it cannot; `version` is the server's.
        """
        if not names:
            return
        for product in parallel.take_until(_first(self._catalog(), self.settings.sample), self.stop):
            metadata = product.metadata if isinstance(product, Product) else {}
            if lacking := next((name for name in names if missing_numbers.is_nan(metadata.get(name))), ""):
                raise ContractError(
                    f"{self.settings.schema}: {product.product_id} has no {lacking}, and Milvus {version} can store "
                    f"neither NaN nor null; give the field {lacking} a number that no product has, such as "
                    "missing = -1.0, or upgrade Milvus to 2.5"
                )

    def images(
        self, *, download: bool = True, decodes: bool = False, is_known: IsKnown | None = None
    ) -> Iterator[ImageFile | Skipped]:
        """Put every product's image on disk, and note the products for the exports.

        With `decodes`, a file that must be read anyway is decoded as well, unless the store has its vector or
        `is_known`, which a comparison with a collection gives, says that its row has this image.
        """

        def known(images: Sequence[ImageFile]) -> Sequence[bool]:
            held = self.store.holds([image.sha256 for image in images])
            of_rows = [False] * len(images) if is_known is None else is_known(images)
            found = [either or also or self.preprocessed.holds(image.sha256)
                     for either, also, image in zip(held, of_rows, images, strict=True)]  # fmt: skip
            if not all(found):
                self._expect_model()
            return found

        decoder = self._decoder if decodes else None
        found = self._stage.find(self.products(), download=download, decoder=decoder, is_known=known)
        return self.note_images(parallel.take_until(found, self.stop))

    def note_images(self, images: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Note images, in catalog order, for the exports, and count them."""
        return self.count_images(self.wanted.note(images))

    def count_images(self, images: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Count images that the exports know."""
        if self.fields is not None:
            images = self.fields.note_images(images)
        return self.progress.count(Stage.IMAGES, self._keep_example(images), ImageFile)

    def look_for_images(self) -> Iterator[list[ImageFile | Product | Skipped]]:
        """Read the catalog in blocks, with the image of each product whose image is in place; nothing is fetched."""
        return self._stage.look(self.products())

    def pixels(self, images: Iterable[ImageFile | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode the images without a vector in the store."""
        known = stage.lookup(self._clock.waiting(images), self.store, self.open_trash)
        known = self._tell_of_new(self._clock.within(Stage.STORE, known))
        return self.progress.count(Stage.DECODE, self.decode(known), Decoded)

    def decode(self, images: Iterable[ImageFile | Embedded | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode every image that is not decoded yet."""
        return self._stage.decode(self.preprocessed.load(images), self._decoder, self._ahead)

    def embed(self, images: Iterable[ImageFile | Skipped]) -> Iterator[Embedded | Skipped]:
        """Give every image its vector, from the store or from the model; new ones are stored first."""
        model = self.encoder()
        encoder = embedding.CountingEncoder(
            model,
            lambda images: self.progress.add(Stage.EMBEDDING, images),
            lambda: self._clock.working(Stage.EMBEDDING),
        )
        loading = EarlyLoad(model.size, self._clock)
        self._flows.callback(loading.join)
        self._expect_model = loading.start
        pixels = parallel.take_until(self.owned(parallel.prefetch(self.pixels(images), self._ahead)), self.stop)
        pixels = self._load_first(self._clock.waiting(pixels), model)
        vectors = self._clock.waiting(embedding.embed(pixels, encoder, model.size))
        writer = ShardWriter(self.store, at_work=lambda: self._clock.working(Stage.STORE))
        stored = stage.append(vectors, writer)
        return self._forget_pixels(self.progress.count(Stage.STORE, stored, Embedded))

    def buffer(self, records: Iterable[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        """Buffer, so that the earlier stages keep running while Milvus is unavailable."""
        return self.owned(spill(records, self.store, max(self._ahead, _WAITING), self.settings.data / "embeddings"))

    def resize_on_host(self) -> None:
        """Have images resized here from now on, whatever the settings say: there is no device."""
        self._decoder = self._stage.decoder(self.checkpoint.preprocessing, on_host=True)

    @property
    def too_many_skipped(self) -> bool:
        """Whether more products were skipped than --max-skipped allows."""
        return too_many(self.report.skipped, self.progress.items(Stage.CATALOG), self.settings.max_skipped)

    def owned(self, records: Generator[T, None, None]) -> Iterator[T]:
        """Return `records`, closed when the pipeline is: an exception's traceback would keep what they hold open."""
        self._flows.enter_context(closing(records))
        return records

    def stop_threads(self) -> None:
        """End the threads of the stages; generators that an exception's traceback still refers to would go on."""
        self._flows.close()

    @property
    def _ahead(self) -> int:
        """How many images may wait for the model: four batches; for a GPU that finds its own, as memory allows."""
        if self.settings.batch or not expects_gpu(self.settings.device):
            return 4 * (self.settings.batch or _BATCH)
        layout = SlotLayout(self.checkpoint.preprocessing, self.settings.resize == "device")
        return max(4 * _BATCH, _AHEAD_BYTES // (layout.size // layout.images))

    def _catalog(self, recorder: CatalogRecorder | None = None) -> Iterator[Product | Skipped]:
        return reader.read_catalog(self.settings.catalog, self.contract, self._columns, self.listed, recorder)

    def encoder(self) -> ClipEncoder:
        """Return the model; it is loaded when it is first used."""
        return ClipEncoder(self.checkpoint, self.settings.device, self.settings.dtype, self.settings.batch)

    def _load_first(
        self, records: Iterable[Decoded | Embedded | Skipped], model: ClipEncoder
    ) -> Iterator[Decoded | Embedded | Skipped]:
        """Load the model at the first decoded image, measured apart from embedding."""
        for record in records:
            if isinstance(record, Decoded) and not self.device:
                with self._clock.working(MODEL):
                    model.size()
                self.device = model.devices[0]
            yield record

    def _tell_of_new(
        self, records: Iterable[ImageFile | Embedded | Skipped]
    ) -> Iterator[ImageFile | Embedded | Skipped]:
        for record in records:
            if isinstance(record, ImageFile):
                self._expect_model()
            yield record

    def _keep_example(self, images: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        for record in images:
            if self.example is None and isinstance(record, ImageFile):
                self.example = record
            yield record

    def _forget_pixels(self, records: Iterable[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        for record in records:
            if isinstance(record, Embedded):
                self.preprocessed.remove(record.sha256)
            yield record


def _first(records: Iterable[Product | Skipped], products: int) -> Iterable[Product | Skipped]:
    return islice(records, products) if products else records
