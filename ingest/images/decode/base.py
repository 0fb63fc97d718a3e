"""What decodes blocks of files: on the calling thread (`on_threads`) or in a process of its own (`in_processes`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Crop
    from ingest.images.cache.entry import ImageContent
    from ingest.images.decode.errors import UndecodableError
    from ingest.images.reading import FileFacts

KEPT_BYTES = 32 * 2**20
"""Of the files of a block that are kept in memory between reading and decoding; the others are read twice."""


class DecodedImage(NamedTuple):
    """Pixels, (height, width, 3) uint8 RGB as the model takes them or to be resized, and what the file contains."""

    pixels: NDArray[np.uint8] | Crop
    content: ImageContent


Outcome: TypeAlias = "DecodedImage | UndecodableError"


class ReadFile(NamedTuple):
    """What came of reading a file, and of decoding it if that was wanted."""

    facts: FileFacts | OSError
    outcome: Outcome | None


class BlockDecoder(Protocol):
    """Decodes blocks of files for one model; for any number of threads."""

    def decode(self, files: Sequence[tuple[Path, bytes]]) -> Sequence[Outcome]:
        """Return what came of each file, given as its path and its SHA-256."""

    def read(
        self, paths: Sequence[Path], wanted: Callable[[Sequence[FileFacts | OSError]], Sequence[bool]]
    ) -> Sequence[ReadFile]:
        """Read each file once, and decode those that are `wanted` when their digests are known."""
