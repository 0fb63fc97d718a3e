"""From a picture to the pixels a model expects: the geometry of transformers' Pillow image processors, on uint8.

Resizing and cropping happen here, on whole bytes; scaling to [0, 1] and normalising happen on the device.
The same pixels as `CLIPImageProcessorPil` and `SiglipImageProcessorPil` give, which tests compare one by one; only
of strips more than 32 times as long as wide are the far ends cut off first, which may move the middle by half a pixel.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import display

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from PIL.Image import Image

_LONGEST_STRIP = 32  # sides; far beyond what the crop and the resampling filter reach
_MARGIN = 1.5  # times the model's input
_CLIP_KINDS = ("CLIPImageProcessor", "CLIPFeatureExtractor")  # and …Fast, …Pil; the second is transformers 4's old name
_SIGLIP_KIND = "SiglipImageProcessor"  # SigLIP 2 at a fixed size has it too; at its natural size it is another
_BICUBIC = 3  # Pillow's numbering, which preprocessor_config.json uses


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture before the model sees it.

    `height` × `width` is the model's input. With `keep_aspect` the short side is brought to `short_side` and the
    middle cut out (CLIP); without, the picture is brought to the input's size as it is (SigLIP). `resample` is
    Pillow's number. `mean` and `std` are per channel, over values in [0, 1].
    """

    height: int
    width: int
    short_side: int
    keep_aspect: bool
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def geometry(self) -> str:
        """12 hex digits over what decides the uint8 pixels: all but mean and std."""
        parts = asdict(self)
        del parts["mean"], parts["std"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def least(self) -> int:
        """The shorter side that a picture decoded smaller must keep, so that its vector hardly moves."""
        return math.ceil(_MARGIN * (self.short_side if self.keep_aspect else max(self.height, self.width)))

    def __call__(
        self, image: Image, of: tuple[int, int] | None = None, box: tuple[float, float, float, float] | None = None
    ) -> NDArray[np.uint8]:
        """Return the pixels of an RGB picture as (height, width, 3) uint8.

        Of a picture decoded smaller, `of` is its own width and height and `box` what it covers of `image`: both
        decide what is cut out, which would else be a pixel off.
        """
        if self.keep_aspect:
            image = _without_ends(image)
            width, height = of or image.size
            short, long = sorted((width, height))
            other = int(self.short_side * long / short)
            size = (self.short_side, other) if width <= height else (other, self.short_side)
        else:
            size = (self.width, self.height)
        pixels = np.asarray(
            image if image.size == size and box is None else image.resize(size, self.resample, box), np.uint8
        )
        return _middle(pixels, self.height, self.width)


CLIP = Preprocessing(
    height=224,
    width=224,
    short_side=224,
    keep_aspect=True,
    resample=_BICUBIC,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
"""OpenAI's CLIP at 224 pixels (https://github.com/openai/CLIP, `clip.py`): what is meant where nothing is known."""


def from_config(config: Mapping[str, Any], name: str) -> Preprocessing:
    """Read a `preprocessor_config.json`; `name` is the model's, for the message.

    What it leaves out is what transformers takes for its kind of processor. Raises ModelError for steps that this
    tool does not do, rather than embed other pixels than the model expects.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or _CLIP_KINDS[0])
    if not kind.startswith((*_CLIP_KINDS, _SIGLIP_KIND)):
        raise ModelError(f"{name}: its preprocessing is {display(kind)}; choose a CLIP or SigLIP model")
    try:
        steps = _read(config, name, siglip=kind.startswith(_SIGLIP_KIND))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{name}: its preprocessing has a value that cannot be read ({error!r})") from error
    sizes = (steps.height, steps.width, steps.short_side if steps.keep_aspect else steps.height)
    if min(sizes) < 1 or not 0 <= steps.resample <= 5 or not _usable(steps):
        raise ModelError(f"{name}: its preprocessing has a size, resample or image_std that cannot be")
    return steps


def _read(config: Mapping[str, Any], name: str, *, siglip: bool) -> Preprocessing:
    if not config.get("do_resize", True) or not config.get("do_rescale", True) or not config.get("do_normalize", True):
        raise ModelError(
            f"{name}: its preprocessing leaves out resizing, rescaling or normalising; choose a CLIP or SigLIP"
        )
    if config.get("do_pad") or abs(float(config.get("rescale_factor", 1 / 255)) - 1 / 255) > 1e-6:
        raise ModelError(f"{name}: its preprocessing pads or rescales unusually; choose a CLIP or SigLIP model")
    size = config.get("size", {"height": 224, "width": 224} if siglip else 224)
    size = {"shortest_edge": size} if isinstance(size, int) else {key: side for key, side in size.items() if side}
    keep_aspect = set(size) == {"shortest_edge"}
    cropped = config.get("do_center_crop", not siglip)
    target = config.get("crop_size", 224) if cropped else size
    if isinstance(target, int):
        target = {"height": target, "width": target}
    if not keep_aspect and (set(size) != {"height", "width"} or target != size):
        raise ModelError(f"{name}: its preprocessing resizes to {size} and crops {target}; choose a CLIP or SigLIP")
    if keep_aspect and not cropped:
        raise ModelError(f"{name}: its preprocessing gives pictures of differing sizes; choose a CLIP or SigLIP model")
    half = (0.5, 0.5, 0.5)
    return Preprocessing(
        int(target["height"]),
        int(target["width"]),
        int(size.get("shortest_edge", 0)),
        keep_aspect,
        int(config.get("resample", _BICUBIC)),
        _three(config.get("image_mean", half if siglip else CLIP.mean)),
        _three(config.get("image_std", half if siglip else CLIP.std)),
    )


def _usable(steps: Preprocessing) -> bool:
    return all(math.isfinite(value) for value in (*steps.mean, *steps.std)) and min(steps.std) > 0


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)


def _without_ends(image: Image) -> Image:
    """Cut the far ends off a strip: only its middle is seen, and resizing a 1 × 60,000 one whole takes gigabytes."""
    width, height = image.size
    longest = _LONGEST_STRIP * min(width, height)
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top)) if left or top else image


def _middle(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cut the middle out, and put black around what is smaller than it."""
    rows, columns = pixels.shape[:2]
    if rows < height or columns < width:
        wider = np.zeros((max(rows, height), max(columns, width), 3), np.uint8)
        top, left = -(-(wider.shape[0] - rows) // 2), -(-(wider.shape[1] - columns) // 2)
        wider[top : top + rows, left : left + columns] = pixels
        pixels, (rows, columns) = wider, wider.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
