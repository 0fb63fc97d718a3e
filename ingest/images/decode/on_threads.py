"""Decodes blocks of files on the thread that asks; those that are not sound, in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.images.decode.base import KEPT_BYTES, ReadFile
from ingest.images.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.images.decode.base import Outcome
    from ingest.images.decode.model_pixels import ModelPixels
    from ingest.images.reading import FileFacts


class ThreadDecoder:
    """A `BlockDecoder` that works where it is called."""

    def __init__(self, decode: ModelPixels) -> None:
        self._decode = decode

    def decode(self, files: Sequence[tuple[Path, bytes]]) -> list[Outcome]:
        """Return what came of each file; raises what the preprocessing raises."""
        return [self._decode(path, sha256) for path, sha256 in files]

    def read(
        self, paths: Sequence[Path], wanted: Callable[[Sequence[FileFacts | OSError]], Sequence[bool]]
    ) -> list[ReadFile]:
        """Read the files, then decode those that are wanted."""
        facts, contents = read_block(paths)
        return [
            ReadFile(one, self._decode(path, one.sha256, content))
            if is_wanted and not isinstance(one, OSError)
            else ReadFile(one, None)
            for path, one, content, is_wanted in zip(paths, facts, contents, wanted(facts), strict=True)
        ]


def read_block(paths: Sequence[Path]) -> tuple[list[FileFacts | OSError], list[bytes | None]]:
    """Return each file's facts, or why it cannot be read, and the content of JPEGs, up to `KEPT_BYTES` together."""
    facts: list[FileFacts | OSError] = []
    contents: list[bytes | None] = []
    left = KEPT_BYTES
    for path in paths:
        content = None
        try:
            found, content = read_file(path, left)
        except OSError as error:
            facts.append(error)
        else:
            facts.append(found)
        left -= len(content or b"")
        contents.append(content)
    return facts, contents
