"""An image → the pixels a model expects: the geometry of transformers' Pillow image processors, on uint8.

Resizing and cropping happen here, on bytes; scaling to [0, 1] and normalising happen on the device.
The pixels are those of `CLIPImageProcessorPil` and `SiglipImageProcessorPil`; tests compare them. One exception: strips
more than 32 times as long as wide lose their ends first, which may move the middle by half a pixel.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ModelError
from ingest.core.records import Crop
from ingest.embedding.checkpoint_files import display

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from PIL.Image import Image

_LONGEST_STRIP = 32  # times its width; far more than the crop and the resampling filter use
_MARGIN = 1.5  # times the model's input
_LARGEST_CROP = 3.0  # times the model's input, in each direction; drafted JPEGs are smaller
_REACH = 2  # pixels on either side that Pillow's bicubic filter reaches, times the factor by which an image shrinks
_CLIP_KINDS = (  # and …Fast, …Pil; the second and fourth are transformers 4's old names
    "CLIPImageProcessor",
    "CLIPFeatureExtractor",
    "ChineseCLIPImageProcessor",
    "ChineseCLIPFeatureExtractor",
)
_SIGLIP_KIND = "SiglipImageProcessor"  # also of SigLIP 2 at a fixed size, but not at its natural size
_SIDE = 224  # the default of both
_BICUBIC = 3  # Pillow's numbering, which preprocessor_config.json uses


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to an image before the model gets it.

    `height` × `width` is the model's input. With `keep_aspect` the short side is resized to `short_side` and the middle
    is cut out (CLIP); without it the image is stretched to the input's size (SigLIP). `resample` is Pillow's number.
    `mean` and `std` are per channel, over values in [0, 1]. If the middle does not begin at a whole pixel, it begins at
    the one before, as in transformers, or with `rounded_crop` at the nearest, as in torchvision and so in open_clip.
    """

    height: int
    width: int
    short_side: int
    keep_aspect: bool
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rounded_crop: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The fields by name, as fingerprints cover them: without `rounded_crop` if it is off, as before it existed."""
        fields = asdict(self)
        if not self.rounded_crop:
            del fields["rounded_crop"]
        return fields

    @property
    def geometry(self) -> str:
        """12 hex digits over what determines the uint8 pixels: everything except mean and std."""
        parts = self.settings
        del parts["mean"], parts["std"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def least(self) -> int:
        """The shorter side that an image decoded at reduced size must keep, so that its vector hardly changes."""
        return math.ceil(_MARGIN * (self.short_side if self.keep_aspect else max(self.height, self.width)))

    def __call__(
        self, image: Image, of: tuple[int, int] | None = None, box: tuple[float, float, float, float] | None = None
    ) -> NDArray[np.uint8]:
        """Return the pixels of an RGB image as (height, width, 3) uint8.

        For an image decoded at reduced size, `of` is its full width and height and `box` the part of `image` that it
        covers. Without them the crop would be a pixel off.
        """
        image, size = self._resized(image, of)
        pixels = np.asarray(
            image if image.size == size and box is None else image.resize(size, self.resample, box), np.uint8
        )
        return self._middle(pixels)

    def crop(
        self, image: Image, of: tuple[int, int] | None = None, box: tuple[float, float, float, float] | None = None
    ) -> Crop | NDArray[np.uint8]:
        """Return the part of an image that the model sees, for the device to resize as `resize_crops` does.

        Returns the pixels, as when called, if that would be a detour: if the part is more than three times as large as
        the model's input, so that copying it takes longer, or if the filter is not bicubic, or a border is missing.
        """
        strip, size = self._resized(image, of)
        left, top, right, bottom = box or (0.0, 0.0, *strip.size)
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        is_large = max(across, down) > _LARGEST_CROP
        if self.resample != _BICUBIC or is_large or size[0] < self.width or size[1] < self.height or size == strip.size:
            return self(image, of, box)
        left += self._begin(size[0] - self.width) * across
        top += self._begin(size[1] - self.height) * down
        right, bottom = left + self.width * across, top + self.height * down
        reach_x, reach_y = (math.ceil(_REACH * max(scale, 1.0)) + 1 for scale in (across, down))
        x, y = max(0, math.floor(left) - reach_x), max(0, math.floor(top) - reach_y)
        x_end, y_end = min(strip.width, math.ceil(right) + reach_x), min(strip.height, math.ceil(bottom) + reach_y)
        pixels = np.asarray(strip.crop((x, y, x_end, y_end)), np.uint8)
        return Crop(pixels, (left - x, top - y, right - x, bottom - y))

    def resize(self, crop: Crop) -> NDArray[np.uint8]:
        """Return the pixels of a crop as (height, width, 3) uint8, nearly those that calling this on the image gives.

        Pillow 13 filters rows or columns first, as the image's shape makes it cheaper; a crop has another shape.
        """
        from PIL import Image

        resized = Image.fromarray(crop.pixels).resize((self.width, self.height), self.resample, crop.box)
        return np.asarray(resized, np.uint8)

    def _resized(self, image: Image, of: tuple[int, int] | None) -> tuple[Image, tuple[int, int]]:
        """Return the image without the ends of a strip, and the width and height that it is resized to."""
        if not self.keep_aspect:
            return image, (self.width, self.height)
        image = _without_ends(image)
        width, height = of or image.size
        short, long = sorted((width, height))
        other = int(self.short_side * long / short)
        return image, (self.short_side, other) if width <= height else (other, self.short_side)

    def _middle(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the middle out; pixels smaller than that get a black border."""
        rows, columns = pixels.shape[:2]
        if rows < self.height or columns < self.width:
            wider = np.zeros((max(rows, self.height), max(columns, self.width), 3), np.uint8)
            top, left = -(-(wider.shape[0] - rows) // 2), -(-(wider.shape[1] - columns) // 2)
            wider[top : top + rows, left : left + columns] = pixels
            pixels, (rows, columns) = wider, wider.shape[:2]
        top, left = self._begin(rows - self.height), self._begin(columns - self.width)
        return np.ascontiguousarray(pixels[top : top + self.height, left : left + self.width])

    def _begin(self, spare: int) -> int:
        """Return where the middle begins if `spare` pixels are left out."""
        return round(spare / 2) if self.rounded_crop else spare // 2


CLIP = Preprocessing(
    height=224,
    width=224,
    short_side=224,
    keep_aspect=True,
    resample=_BICUBIC,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
"""OpenAI's CLIP at 224 pixels (https://github.com/openai/CLIP, `clip.py`): used if a model says nothing else."""


def from_config(config: Mapping[str, Any], name: str) -> Preprocessing:
    """Read a `preprocessor_config.json`; `name` is the model's, for messages.

    A missing key has the default of transformers for that kind of processor. Raises ModelError for steps that this tool
    cannot do, because the model would be given other pixels than it expects.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or _CLIP_KINDS[0])
    is_siglip = kind.startswith(_SIGLIP_KIND)
    if not is_siglip and not kind.startswith(_CLIP_KINDS):
        raise ModelError(f"{name}: its preprocessing is {display(kind)}; choose a CLIP or SigLIP model")
    half = (0.5, 0.5, 0.5)
    try:
        _check_steps(config, name)
        height, width, short_side = _sizes(config, name, is_siglip=is_siglip)
        steps = Preprocessing(
            height=height,
            width=width,
            short_side=short_side or 0,
            keep_aspect=short_side is not None,
            resample=int(config.get("resample", _BICUBIC)),
            mean=three_channels(config.get("image_mean", half if is_siglip else CLIP.mean)),
            std=three_channels(config.get("image_std", half if is_siglip else CLIP.std)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{name}: its preprocessing has a value that cannot be read ({error!r})") from error
    check_possible(steps, name)
    return steps


def check_possible(steps: Preprocessing, name: str) -> None:
    """Raise ModelError for sizes, filters and numbers that no image can be prepared with."""
    if not _is_possible(steps):
        raise ModelError(f"{name}: its preprocessing has an impossible size, resample or image_std")


def three_channels(values: Any) -> tuple[float, float, float]:
    """Return the numbers of the three channels; raises TypeError or ValueError if they are not three."""
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)


def _check_steps(config: Mapping[str, Any], name: str) -> None:
    if not all(config.get(step, True) for step in ("do_resize", "do_rescale", "do_normalize")):
        raise ModelError(
            f"{name}: its preprocessing leaves out resizing, rescaling or normalising; choose a CLIP or SigLIP model"
        )
    if config.get("do_pad") or abs(float(config.get("rescale_factor", 1 / 255)) - 1 / 255) > 1e-6:
        raise ModelError(f"{name}: its preprocessing pads or rescales unusually; choose a CLIP or SigLIP model")


def _sizes(config: Mapping[str, Any], name: str, *, is_siglip: bool) -> tuple[int, int, int | None]:
    """Return the input's height and width, and the short side that is resized to before cropping, or None."""
    size = config.get("size", {"height": _SIDE, "width": _SIDE} if is_siglip else _SIDE)
    size = {"shortest_edge": size} if isinstance(size, int) else {key: side for key, side in size.items() if side}
    crop = None
    if config.get("do_center_crop", not is_siglip):
        crop = config.get("crop_size", _SIDE)
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    if set(size) == {"shortest_edge"}:
        if crop is None:
            raise ModelError(
                f"{name}: its preprocessing gives images of different sizes; choose a CLIP or SigLIP model"
            )
        return int(crop["height"]), int(crop["width"]), int(size["shortest_edge"])
    if set(size) != {"height", "width"} or crop not in (None, size):
        raise ModelError(
            f"{name}: its preprocessing resizes to {size} and crops {crop or size}; choose a CLIP or SigLIP model"
        )
    return int(size["height"]), int(size["width"]), None


def _is_possible(steps: Preprocessing) -> bool:
    sides = (steps.height, steps.width, steps.short_side if steps.keep_aspect else steps.height)
    return (
        min(sides) >= 1
        and 0 <= steps.resample <= 5
        and all(map(math.isfinite, (*steps.mean, *steps.std)))
        and min(steps.std) > 0
    )


def _without_ends(image: Image) -> Image:
    """Cut the far ends off a strip: only its middle is used, and resizing all of 1 × 60,000 pixels takes gigabytes."""
    width, height = image.size
    longest = _LONGEST_STRIP * min(width, height)
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top)) if left or top else image
