"""Any Pillow mode → RGB as viewers show it: 16- and 32-bit greys scaled, colour profiles applied, on white."""

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
    """Return a loaded image of any mode as sRGB in mode RGB, with white behind its transparent parts."""
    if image.mode in _DEEP:
        return _from_deep_grey(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return _in_srgb(image, profile)
    # Pillow turns a palette's transparency and a PNG's tRNS into an alpha channel.
    layered = image.convert("RGBA")
    below = Image.new("RGB", image.size, _WHITE)
    below.paste(_in_srgb(layered.convert("RGB"), profile), mask=layered.getchannel("A"))
    return below


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits to 8; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.float32)
    values[~np.isfinite(values)] = 0
    scaled = _to_bytes(values, sixteen=image.mode != "F")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG's tRNS of a 16-bit grey: the one value that is transparent
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def _to_bytes(values: NDArray[np.float32], *, sixteen: bool) -> NDArray[np.uint8]:
    """Return (h, w) uint8: 16-bit integers divided by 257, floats of 0 to 1 times 255, other values stretched.

    Other 32-bit images do not say which value is white: their lowest becomes 0, their highest 255.
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
    """Return an opaque image in RGB, converted by its embedded profile if that is valid and not sRGB."""
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if isinstance(profile, bytes) and profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in (source.profile.profile_description or ""):
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
            pass  # viewers and Pillow ignore a broken profile, or one for another colour model
    # Pillow copies an image that is RGB already, which is needed only if it still holds on to its file.
    return image if image.mode == "RGB" and type(image) is Image.Image else image.convert("RGB")
