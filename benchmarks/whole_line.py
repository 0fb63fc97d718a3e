"""The whole line as benchmarks run it: catalog, images, decoding, an encoder of theirs, store, and a sink."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ingest.core.contract import Contract, Space
    from ingest.pipeline.pipeline import Pipeline

Work: TypeAlias = "Callable[[], int]"
"""What is timed; returns the number of images that came out."""

DOWNLOADS = 32


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Sink:
    """A collection whose server acknowledges at once; rows are packed into Milvus' message as ever."""

    name = "sink"

    def __init__(self, contract: Contract, space: Space) -> None:
        self.contract, self.space = contract, space
        self.connection = self
        self.is_lite = False

    def call(self, _what: str, function: Callable[[Any], None], request: Any) -> None:
        """Do what a connection does, which is then up to `upsert`."""
        function(request)

    def upsert(self, _request: Any) -> None:
        """Acknowledge the rows."""


@contextmanager
def whole_line(
    model: Path, catalog: Path, output: Path, encoder: Callable[[Space], Any], decode_in: str, resize: str = "host"
) -> Iterator[Work]:
    """Yield the line from a catalog of unseen images to the sink; `encoder` returns the encoder of its space."""
    import pymilvus  # noqa: F401  otherwise imported by the first upsert

    from ingest.core.records import Embedded
    from ingest.milvus import writer
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.inventory import Inventory

    with ExitStack() as stack:
        pipeline = opened(stack, model, catalog, output, decode_in=decode_in, resize=resize)
        use_encoder(stack, pipeline, encoder(pipeline.space))
        sink: Any = Sink(pipeline.contract, pipeline.space)

        def run() -> int:
            difference = CollectionDiff(Inventory(), pipeline.space.fingerprint)
            images: Any = pipeline.images
            if hasattr(difference, "have_image"):  # not in a checkout from before files were decoded as they are read
                images = partial(images, decodes=True, is_known=difference.have_image)
            changed = difference.changes(images())
            written = writer.upsert(pipeline.buffer(pipeline.embed(changed)), sink)
            return sum(isinstance(record, Embedded) for record in written)

        yield run


def opened(stack: ExitStack, model: Path, catalog: Path, output: Path, **more: str) -> Pipeline:
    """Return the resources of a run that has everything before it, closed by the stack; `more` are other settings."""
    from ingest.core.settings import Settings
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.progress import Progress

    new: dict[str, Any] = {name: value for name, value in more.items() if name in Settings.__slots__}  # not in old ones
    settings = Settings(
        catalog=catalog, data=output, model=str(model), download_missing=True, download_workers=DOWNLOADS,
        download_per_host=DOWNLOADS, allow_private=True, **new,
    )  # fmt: skip
    return Pipeline(stack, settings, Progress(), threading.Event())


def use_encoder(stack: ExitStack, pipeline: Pipeline, encoder: object) -> None:
    """Let the pipeline embed with an encoder that is loaded already, or that has no model."""
    stack.enter_context(mock.patch.object(pipeline, "encoder", return_value=encoder))
