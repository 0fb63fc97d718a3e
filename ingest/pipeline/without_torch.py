"""The pipeline on a machine that turns out to lack torch: the pixels that it would have embedded are saved."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ingest.core.errors import NoTorchError
from ingest.core.records import Decoded
from ingest.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress


@contextmanager
def open_pipeline(settings: Settings, progress: Progress, stop: threading.Event) -> Iterator[Pipeline]:
    """Open the pipeline; if torch turns out to be missing, save the pixels that it would have embedded."""
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        try:
            yield pipeline
        except NoTorchError as error:
            pipeline.stop_threads()
            pipeline.resize_on_host()
            saved = _save_pixels(pipeline)
            images = "1 preprocessed image is" if saved == 1 else f"{saved:,} preprocessed images are"
            raise NoTorchError(
                f"{error}; nothing was embedded; {images} saved under "
                f"{pipeline.preprocessed.folder}, which the next run with torch uses"
            ) from error


def _save_pixels(pipeline: Pipeline) -> int:
    pixels = pipeline.preprocessed.save(pipeline.pixels(pipeline.images(decodes=True)))
    return sum(1 for record in pixels if isinstance(record, Decoded))
