"""File types by a file's first bytes, because names and Content-Type headers are often wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

HEAD = 64
"""How many bytes `extension` needs."""

_STARTS = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
)
# The possible sizes of a BMP's second header. "BM" alone would accept any text that begins with it.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def extension(head: bytes) -> str | None:
    """Return jpg, png, webp, gif, bmp, tiff or avif for an image's first 64 bytes, None for anything else."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return "avif" if _is_avif(head) else None


def is_cut_off(file: BinaryIO, kind: str) -> bool:
    """Whether a file is shorter than its own structure says; False if the structure does not say.

    For the formats whose decoders report an early end as damage: WebP (the RIFF size), GIF (its trailer), TIFF (where
    its directory begins) and AVIF (the sizes of its boxes, ISO/IEC 14496-12, 4.2).
    """
    length = file.seek(0, 2)
    file.seek(0)
    head = file.read(8)
    if kind == "webp":
        return int.from_bytes(head[4:8], "little") + 8 > length
    if kind == "gif":
        file.seek(max(0, length - HEAD))
        return not file.read().rstrip(b"\0").endswith(b";")
    if kind == "tiff":
        directory = int.from_bytes(head[4:8], "little" if head[:1] == b"I" else "big")
        return b"+" not in head[:4] and directory >= length  # BigTIFF, with "+", has the offset elsewhere
    return kind == "avif" and _boxes_end(file, length) > length


def _boxes_end(file: BinaryIO, length: int) -> int:
    """Return where the last box ends by its own size; at most `length` if the file is complete."""
    at = 0
    while at < length:
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:  # the size follows in 8 bytes
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: to the end of the file
            break
        at += size
    return at


def _is_avif(head: bytes) -> bool:
    """Whether the file type box (ISO/IEC 14496-12, 4.3) has AVIF as its brand or as a compatible one."""
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : max(12, min(int.from_bytes(head[:4], "big"), HEAD))]
    return any(brands[at : at + 4] in (b"avif", b"avis") for at in range(0, len(brands), 4) if at != 4)
