"""Whether a file is complete, from its structure alone: no pixel is decoded, no C library is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.images.decode import png_chunks

if TYPE_CHECKING:
    from typing import BinaryIO

_TAIL = 4096  # other programs seldom append more to a JPEG


def is_sound(file: BinaryIO, kind: str) -> bool:
    """Whether a file of that type is certainly complete.

    TIFF and AVIF never count as sound: their decoders are large, and catalogs seldom test them.
    """
    length = file.seek(0, 2)
    file.seek(0)
    if kind == "png":
        return png_chunks.is_sound(file)
    if kind == "webp":
        return int.from_bytes(file.read(8)[4:8], "little") + 8 == length + length % 2
    if kind == "bmp":
        return int.from_bytes(file.read(6)[2:6], "little") == length
    file.seek(-min(_TAIL, length), 2)
    tail = file.read()
    if kind == "jpg":
        return b"\xff\xd9" in tail
    return kind == "gif" and tail.rstrip(b"\0").endswith(b";")
