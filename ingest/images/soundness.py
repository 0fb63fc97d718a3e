"""Whether a file's container is whole, from its structure alone; no pixel is decoded and no C library is asked."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader

_TAIL = 4096  # what other programs leave behind a JPEG's end is seldom longer
_MAX_CHUNK = 2**31 - 1  # PNG, third edition, 5.3


def is_sound(file: BufferedReader, kind: str) -> bool:
    """Whether the container of a picture of that kind is whole; False as well where that cannot be told.

    TIFF and AVIF are never sound: their decoders are large, and catalogs seldom put them to the test.
    """
    length = file.seek(0, 2)
    file.seek(0)
    if kind == "png":
        return _is_sound_png(file)
    if kind == "webp":
        return int.from_bytes(file.read(8)[4:8], "little") + 8 == length + length % 2
    if kind == "bmp":
        return int.from_bytes(file.read(6)[2:6], "little") == length
    file.seek(-min(_TAIL, length), 2)
    tail = file.read()
    if kind == "jpg":
        return b"\xff\xd9" in tail
    return kind == "gif" and tail.rstrip(b"\0").endswith(b";")


def _is_sound_png(file: BufferedReader) -> bool:
    """Whether all chunks are there with the right checksums, up to IEND."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        if size > _MAX_CHUNK:
            return False
        body = file.read(size)
        if len(body) < size or file.read(4) != zlib.crc32(head[4:] + body).to_bytes(4, "big"):
            return False
        if head[4:] == b"IEND":
            return True
    return False
