"""Repairs a JPEG in memory: adds a missing end, and removes segments that browsers ignore (ITU-T T.81)."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

_EOI = b"\xff\xd9"
_EOI_MARKER, _SOS_MARKER, _FIRST_APPLICATION_MARKER = 0xD9, 0xDA, 0xE0
# B.1.1.2; without stuffed bytes, restarts, SOI and TEM, which have no length.
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd9-\xfe])")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # without the tables and a reserved code in between
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_COEFFICIENTS = range(64)
# Application segments that change pixels: marker, beginning of the body, and its minimum length.
_CHANGE_PIXELS = ((0xE0, b"JFIF\0", 14), (0xE1, b"Exif\0\0", 6), (0xE2, b"ICC_PROFILE\0", 14), (0xEE, b"Adobe", 12))
_NOISE = b"\x55" * 256  # image data that is valid for every decoder


class Segment(NamedTuple):
    """A marker segment: where it begins and ends, and what follows its length."""

    marker: int
    at: int
    end: int
    body: bytes


def repair(content: bytes) -> bytes | None:
    """Return the copy; None if it would be the same, or if pixels are missing."""
    copy: list[bytes] = []
    scans: list[bytes] = []
    frame: Segment | None = None
    at, ended = 0, False
    for segment in segments(content):
        if segment.marker in FRAMES:
            frame = segment
        elif segment.marker == _SOS_MARKER:
            scans.append(segment.body)
        elif segment.marker == _EOI_MARKER:
            ended = True
        elif segment.marker >= _FIRST_APPLICATION_MARKER and not _changes_pixels(segment):
            copy.append(content[at : segment.at])
            at = segment.end
    copy.append(content[at:])
    kept = b"".join(copy)
    if ended:
        return None if kept == content else kept
    return _with_end(kept) if frame is not None and _has_all_scans(frame, scans) else None


def segments(content: bytes) -> Iterator[Segment]:
    """Yield the marker segments up to EOI; skip what is between them, such as image data."""
    at = 2
    while match := _MARKER.search(content, at):
        body = match.end() + 2
        at = match.end() if match[1] == b"\xd9" else match.end() + int.from_bytes(content[match.end() : body], "big")
        if at > len(content):
            return
        yield Segment(match[1][0], match.start(), at, content[body:at])
        if match[1] == b"\xd9":
            return


def _changes_pixels(segment: Segment) -> bool:
    return any(
        segment.marker == marker and segment.body.startswith(start) and len(segment.body) >= min_size
        for marker, start, min_size in _CHANGE_PIXELS
    )


def _has_all_scans(frame: Segment, scans: list[bytes]) -> bool:
    """Whether the scans, if each is complete, give every coefficient of every component in full precision."""
    missing = {(component, k) for component in frame.body[6::3] for k in _COEFFICIENTS}
    for scan in scans:
        components, spectrum = scan[1 : 2 * scan[0] + 1 : 2], scan[2 * scan[0] + 1 :]
        if frame.marker not in _PROGRESSIVE:
            missing -= {(component, k) for component in components for k in _COEFFICIENTS}
        elif spectrum[2] & 15 == 0:  # B.2.3, Al: bits that later scans refine
            missing -= {(component, k) for component in components for k in range(spectrum[0], spectrum[1] + 1)}
    return not missing


def _with_end(content: bytes) -> bytes | None:
    """Return the file with EOI at its end; None if more image data would change its pixels.

    libjpeg fills missing data with grey. Zeros at the end come from an interrupted copy and are not data.
    """
    data = content.rstrip(b"\0")
    data = data + b"\0" if data != content and data.endswith(b"\xff") else data.rstrip(b"\xff")
    whole = data + _EOI
    return whole if _digest(whole) == _digest(data + _more(data) + _EOI) else None


def _more(data: bytes) -> bytes:
    """Return data that may follow in the last scan: noise, and noise after each of the next eight restarts (B.2.1)."""
    restarts = len(_RESTART.findall(data, data.rindex(b"\xff\xda")))
    return _NOISE + b"".join(bytes([0xFF, 0xD0 + (restarts + number) % 8]) + _NOISE for number in range(8))


def _digest(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return hashlib.sha256(image.tobytes()).digest()
