"""Reads the chunks of a PNG, and copies one without the parts that browsers ignore (PNG, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from PIL.PngImagePlugin import MAX_TEXT_CHUNK

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNK = 2**31 - 1  # 5.3
_BLOCK = 1 << 20
_ANCILLARY = 0x20  # 5.4: bit 5 of the first byte of a name
_CHANGE_PIXELS = frozenset({b"tRNS", b"eXIf", b"iCCP"})
_FRAME = 12  # bytes of a chunk besides its body: length, name and checksum
_COLOUR_TYPE = 25  # its offset: IHDR comes first


class Chunk(NamedTuple):
    """A chunk, with its offset and its length with head and checksum; `sound` if complete, with the right checksum."""

    name: bytes
    at: int
    size: int
    sound: bool


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to IEND or the end of the file; the last one may be cut off.

    Reads a megabyte at a time. Callers may seek in the file between two chunks.
    """
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[:4], "big")
        checksum, left = zlib.crc32(head[4:]), size
        while left and (block := file.read(min(left, _BLOCK))):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        sound = size <= _MAX_CHUNK and left == 0 and file.read(4) == checksum.to_bytes(4, "big")
        in_file = size - left + _FRAME  # and not `size`, which may be wrong: callers allocate memory for it
        yield Chunk(head[4:], at, in_file, sound)
        at += size + _FRAME
        if left or head[4:] == b"IEND":
            return


def is_sound(file: BinaryIO) -> bool:
    """Whether all chunks up to IEND are complete and have the right checksums."""
    last = None
    for last in chunks(file):
        if not last.sound:
            return False
    return last is not None and last.name == b"IEND"


def without_ancillary(file: BinaryIO, max_bytes: int) -> bytes | None:
    """Return a copy without the chunks that do not change pixels; None if it is the same, or more than `max_bytes`.

    Keeps critical chunks, and sound transparency, orientation and colour profiles of up to a megabyte. Texts are never
    decompressed. An animation becomes the image that programs without animations show.
    """
    file.seek(_COLOUR_TYPE)
    colour_type = file.read(1)
    file.seek(0)
    copy = [file.read(len(SIGNATURE))]
    colours, changed, left = 0, False, max_bytes
    for chunk in chunks(file):
        if chunk.name[0] & _ANCILLARY and not (chunk.sound and chunk.name in _CHANGE_PIXELS):
            changed = True
            continue
        left -= chunk.size
        if left < 0:
            return None
        file.seek(chunk.at)
        content = repaired = file.read(chunk.size)
        if chunk.name == b"PLTE":
            colours = (chunk.size - _FRAME) // 3
        elif chunk.name == b"tRNS" and chunk.size - _FRAME not in _transparency_sizes(colour_type, colours):
            repaired = b""
        elif chunk.name == b"iCCP":
            repaired = _repair_profile(content[8:-4])
        changed = changed or repaired != content
        copy.append(repaired)
    return b"".join(copy) if changed else None


def _transparency_sizes(colour_type: bytes, colours: int) -> Container[int]:
    """Return how many bytes tRNS may have (11.3.1.1); with a palette, at most one per colour."""
    return {b"\0": (2,), b"\2": (6,), b"\3": range(1, colours + 1)}.get(colour_type, ())


def _repair_profile(body: bytes) -> bytes:
    """Return iCCP with the profile cut to the length in its header; empty if it is invalid or too long for Pillow."""
    name, _, packed = body.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(packed[1:], MAX_TEXT_CHUNK)
    except zlib.error:
        return b""
    size = int.from_bytes(profile[:4], "big")  # ICC.1:2022, 7.2.2
    if packed[:1] != b"\0" or not 0 < size <= len(profile):
        return b""
    body = b"iCCP" + name + b"\0\0" + zlib.compress(profile[:size])
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
