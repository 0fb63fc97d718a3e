"""Why a file cannot be decoded."""

from __future__ import annotations

from PIL import UnidentifiedImageError

from ingest.core.records import Reason
from ingest.core.redaction import printable


class UndecodableError(Exception):
    """A file that gives no pixels: `reason`, and one line of `detail` that does not name the file."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def unknown_type(head: bytes) -> UndecodableError:
    """Return the error for a file whose first bytes are not those of a known image type."""
    if not head:
        return UndecodableError(Reason.TRUNCATED, "empty; fetch or copy it again")
    return UndecodableError(Reason.NOT_AN_IMAGE, "not a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF; replace it")


def too_large(max_pixels: int) -> UndecodableError:
    """Return the error for an image of more than `max_pixels`."""
    limit = f"{max_pixels / 1e6:g} megapixels"
    return UndecodableError(Reason.TOO_LARGE, f"more than {limit}; make it smaller, or raise --max-pixels")


def cut_off() -> UndecodableError:
    """Return the error for a file that ends too early."""
    return UndecodableError(Reason.TRUNCATED, "cut off before its end; fetch or copy it again")


def damage_of(error: Exception) -> UndecodableError:
    """Return what an error of Pillow says about a file."""
    if isinstance(error, UnidentifiedImageError):  # its message names a Python object
        return UndecodableError(Reason.NOT_AN_IMAGE, "damaged (no readable header); replace it")
    words = printable(str(error))
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return cut_off()
    return UndecodableError(Reason.NOT_AN_IMAGE, f"damaged ({words or type(error).__name__}); replace it")


def crash() -> UndecodableError:
    """Return the error of a file that crashes its decoder, or keeps it busy for too long."""
    return UndecodableError(Reason.NOT_AN_IMAGE, "crashes or hangs the decoder; replace it")
