"""Repairs broken files that browsers show in full: copies them in memory without the broken parts."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ingest.images.decode import jpeg_repair, png_chunks

if TYPE_CHECKING:
    from typing import BinaryIO

MAX_COPY = 256_000_000
"""Bytes. Larger files are not repaired. 64 megapixels of noise are 192 MB as a PNG."""


def repair(file: BinaryIO, kind: str) -> BinaryIO | None:
    """Return a repaired copy of a file that cannot be decoded; None if there is nothing to repair.

    Only parts without pixels are removed or added. May raise what Pillow raises on broken bytes.
    """
    if kind == "png":
        copy = png_chunks.without_ancillary(file, MAX_COPY)
    elif kind in ("jpg", "webp"):
        length = file.seek(0, 2)
        if length > MAX_COPY:
            return None
        file.seek(0)
        content = file.read(length)
        copy = jpeg_repair.repair(content) if kind == "jpg" else _complete_chunks(content)
    else:
        return None
    return None if copy is None else io.BytesIO(copy)


def _complete_chunks(content: bytes) -> bytes | None:
    """Return the complete chunks of a WebP that is cut off, often the image among them; None if it is not cut off."""
    if int.from_bytes(content[4:8], "little") + 8 <= len(content):
        return None
    chunks, at = [], 12
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        if end > len(content):
            break
        chunks.append(content[at:end] + bytes((end - at) % 2))
        at = end + (end - at) % 2
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
