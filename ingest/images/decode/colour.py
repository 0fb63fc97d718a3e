"""Any Pillow mode to RGB as viewers show it: deep greys scaled, profiles applied, on white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHITE = (255, 255, 255)
_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded picture of any mode as sRGB in mode RGB, on white where it is transparent."""
    if image.mode in _DEEP:
        return _from_deep_grey(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return _in_srgb(image, profile)
    # RGBA keeps the colour under the transparency; a palette's bytes and a PNG's tRNS become real alpha here.
    layered = image.convert("RGBA")
    below = Image.new("RGB", image.size, _WHITE)
    below.paste(_in_srgb(layered.convert("RGB"), profile), mask=layered.getchannel("A"))
    return below


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits to 8; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.float32)
    values[~np.isfinite(values)] = 0
    scaled = _to_bytes(values, sixteen=image.mode != "F")
    opaque = image.info.get("transparency")
    if isinstance(opaque, int):  # PNG's tRNS of a 16-bit grey: one value that is transparent
        scaled[values == opaque] = 255
    return Image.fromarray(scaled)


def _to_bytes(values: NDArray[np.float32], *, sixteen: bool) -> NDArray[np.uint8]:
    """Return (h, w) uint8: integers of 16 bits by 257, floats of 0 to 1 by 255, else lowest to highest value.

    32-bit pictures do not say which of their values is white, so they are stretched.
    """
    low, high = float(values.min()), float(values.max())
    if sixteen and low >= 0 and high <= 65_535:
        low, high = 0, 65_535
    elif not sixteen and low >= 0 and high <= 255:
        low, high = 0, (1 if high <= 1 else 255)
    scale = np.float32(255 / (high - low) if high > low else 0)
    scaled: NDArray[np.uint8] = np.rint((values - np.float32(low)) * scale).astype(np.uint8)
    return scaled


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Return an opaque picture in RGB, through its embedded profile where that is sound and not sRGB."""
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if isinstance(profile, bytes) and profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in (source.profile.profile_description or ""):
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
            pass  # viewers ignore a broken profile, or one for another colour model; so does a bare Pillow
    return image.convert("RGB")
