"""The images stage alone, for a machine with a network and no model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from ingest.catalog import kept_profiles, reader
from ingest.catalog.rows import Columns
from ingest.catalog.validation import image_fields
from ingest.core import contract_file, notebook
from ingest.core.errors import InterruptedRunError
from ingest.core.records import ImageFile, Product, Skipped, Stage
from ingest.core.wording import quantity
from ingest.images.cache import statistics
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.images.stage import ImageStage
from ingest.images.urls import UrlKey
from ingest.pipeline.report import RunReport, Summary
from ingest.pipeline.skipped import describe_too_many, too_many
from ingest.runtime import parallel
from ingest.runtime.lock import lock_folder

if TYPE_CHECKING:
    import threading

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What a fetch did: `pictures` of the `products` have their image on disk now.

    `examples` has one skipped product for each reason. `failure` says that too many were skipped, "" if not; `notes`
    are for the user.
    """

    products: int
    pictures: int
    skipped: int
    reasons: dict[str, int]
    seconds: float
    places: dict[str, str]
    failure: str
    examples: dict[str, str]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Say in a line what was done, and below why products were skipped and what went wrong."""
        done = (
            f"{quantity(self.products, 'product')}: {self.pictures:,} images available, {self.skipped:,} skipped "
            f"in {self.seconds:.1f} s"
        )
        more = [f"{count:,} skipped: {reason}" for reason, count in self.reasons.items()]
        more += [f"note: {note}" for note in self.notes] + ([f"failure: {self.failure}"] if self.failure else [])
        return notebook.lines(f"FetchResult({done})", more)

    def _repr_html_(self) -> str:
        title = f"{quantity(self.products, 'product')} in {self.seconds:.1f} s"
        names = ("skipped", "reasons", "places", "notes", "failure")
        return notebook.facts(title, {"images": self.pictures, **{name: getattr(self, name) for name in names}})


def fetch(settings: Settings, progress: Progress, stop: threading.Event) -> FetchResult:
    """Download every image of the catalog that is missing; `stop` ends it early with InterruptedRunError."""
    settings = replace(settings, download_missing=True)
    contract = contract_file.load(settings.schema)
    too_many(0, 0, settings.max_skipped)  # raises an error in the option now, not at the end
    columns = Columns.of(settings, kept_profiles.recall(settings))
    catalog = reader.read_catalog(settings.catalog, contract, columns)
    with ExitStack() as stack:
        stack.enter_context(lock_folder(settings.data))
        cache = stack.enter_context(ImageCache(settings.data / FOLDER, url_key=UrlKey(settings.url_key)))
        fields = image_fields(contract, settings.image_column)
        images = stack.enter_context(ImageStage(settings, cache, progress.clock, fields))
        report = stack.enter_context(RunReport(settings.data / "runs"))
        progress.total = settings.sample or reader.estimate(settings.catalog)
        products = progress.clock.within(Stage.CATALOG, islice(catalog, settings.sample or None))
        products = parallel.take_until(products, stop)
        counted = progress.count(Stage.CATALOG, products, (Product, Skipped))
        pictures = parallel.take_until(images.find(counted, download=True), stop)
        for _ in report.keep_skipped(progress.count(Stage.IMAGES, pictures, ImageFile)):
            pass
        cache.flush()
        return _finish(settings, progress, report, cache, interrupted=stop.is_set())


def _finish(
    settings: Settings, progress: Progress, report: RunReport, cache: ImageCache, *, interrupted: bool
) -> FetchResult:
    """Write the report, and return the result; raises InterruptedRunError if the fetch was interrupted."""
    summary = Summary(products=progress.items(Stage.CATALOG), seconds=round(progress.seconds, 3))
    report.count_skipped(summary, settings.catalog)
    places = {"pictures": str(cache.folder), "report": str(report.file)}
    if summary.skipped:
        places["skipped"] = str(report.skipped_table)
    failure = ""
    if too_many(summary.skipped, summary.products, settings.max_skipped):
        failure = describe_too_many(summary.skipped, summary.products, settings.max_skipped, places["skipped"])
    facts: dict[str, Any] = {"catalog": settings.catalog, "places": places}
    notes = cache.notes()
    if notes:
        facts["notes"] = notes
    facts["pictures"] = asdict(statistics.quality(cache.index))
    outcome = "interrupted" if interrupted else "too many skipped" if failure else "done"
    report.write(summary, facts, outcome)
    if interrupted:
        raise InterruptedRunError("interrupted: what was fetched is kept; run the same command again to go on")
    return FetchResult(
        summary.products, progress.items(Stage.IMAGES), summary.skipped, summary.reasons, summary.seconds, places,
        failure, summary.examples, tuple(notes),
    )  # fmt: skip
