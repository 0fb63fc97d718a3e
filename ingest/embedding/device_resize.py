"""Resizes crops of images on the model's device, as Pillow's bicubic filter does, by two matrix products for all.

Pillow filters each row, rounds to bytes, and then filters each column (`src/libImaging/Resample.c`). A matrix that
holds a filter's weights does the same for all rows of an image at once. The pixels are those of Pillow, but for some
shapes, of which Pillow 13 filters the columns first: there they differ at hard edges, in photographs by up to 10 of
255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.records import Crop
from ingest.embedding.device import import_torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_A = -0.5  # of Keys' cubic convolution, as Pillow has it
_SUPPORT = 2.0
_AT_ONCE = 64  # crops whose matrices are in the device's memory together: of CLIP at 224, 100 MB


def resize_crops(crops: Sequence[Crop | NDArray[np.uint8]], height: int, width: int, device: str) -> Any:
    """Return n crops resized to (n, 3, height, width), a float32 tensor on `device` of whole numbers from 0 to 255.

    What is an array has its size already.
    """
    torch = import_torch()
    parts = [
        _resize([_as_crop(one) for one in crops[at : at + _AT_ONCE]], height, width, device)
        for at in range(0, len(crops), _AT_ONCE)
    ]
    return torch.cat(parts)


def _as_crop(pixels: Crop | NDArray[np.uint8]) -> Crop:
    if isinstance(pixels, Crop):
        return pixels
    return Crop(pixels, (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])))


def _resize(crops: Sequence[Crop], height: int, width: int, device: str) -> Any:
    torch = import_torch()
    sizes = np.array([crop.pixels.shape[:2] for crop in crops])
    (rows, columns), boxes = sizes.max(axis=0), np.array([crop.box for crop in crops], np.float64)
    padded = np.zeros((len(crops), rows, columns, 3), np.uint8)
    for into, crop in zip(padded, crops, strict=True):
        into[: crop.pixels.shape[0], : crop.pixels.shape[1]] = crop.pixels
    pixels = torch.from_numpy(padded).to(device).permute(0, 3, 1, 2).to(torch.float32)
    place = device if device.startswith("cuda") else "cpu"  # mps has no float64
    across = _weights(boxes[:, 0], boxes[:, 2], sizes[:, 1], int(columns), width, place).to(device)
    down = _weights(boxes[:, 1], boxes[:, 3], sizes[:, 0], int(rows), height, place).to(device)
    pixels = _to_bytes(pixels @ across.transpose(1, 2).unsqueeze(1))
    return _to_bytes(down.unsqueeze(1) @ pixels)


def _weights(
    start: NDArray[np.float64], end: NDArray[np.float64], sizes: NDArray[np.int64], most: int, count: int, device: str
) -> Any:
    """Return (n, count, most) float32: how much each of an image's rows, or columns, counts for each of the result's.

    `start` and `end` are the edges of the box, `sizes` the pixels that an image has. In float64, as Pillow computes.
    """
    torch = import_torch()

    def of_each(values: NDArray[Any]) -> Any:
        return torch.from_numpy(values.astype(np.float64)).to(device).view(-1, 1, 1)

    def numbers(count: int) -> Any:
        return torch.arange(count, dtype=torch.float64, device=device) + 0.5

    scale = of_each((end - start) / count)
    centre = of_each(start) + numbers(count).view(1, -1, 1) * scale
    shrinks = scale.clamp(min=1.0)
    first = (centre - _SUPPORT * shrinks + 0.5).floor()
    last = (centre + _SUPPORT * shrinks + 0.5).floor().minimum(of_each(sizes))
    at = numbers(most).view(1, 1, -1)
    weights = _bicubic((at - centre) / shrinks) * ((at > first) & (at < last))
    return (weights / weights.sum(dim=2, keepdim=True)).to(torch.float32)


def _bicubic(x: Any) -> Any:
    """Return Keys' kernel (https://doi.org/10.1109/TASSP.1981.1163711) with a = -0.5."""
    x = x.abs()
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return near.where(x < 1, far.where(x < _SUPPORT, 0 * x))


def _to_bytes(values: Any) -> Any:
    return (values + 0.5).floor_().clamp_(0, 255)
