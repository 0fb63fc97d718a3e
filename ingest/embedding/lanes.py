"""Lanes: an image tower on one or more devices, each lane with one batch at a time."""

from __future__ import annotations

import queue
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ModelError
from ingest.core.records import Crop
from ingest.embedding.device import cpu_threads, import_torch, is_out_of_memory
from ingest.embedding.device_resize import resize_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.embedding.encoder import Pixels
    from ingest.embedding.open_clip.model import OpenClipTowers
    from ingest.embedding.preprocess import Preprocessing
    from ingest.embedding.towers import Towers

_BATCH = 32  # the first batch that is probed, and the default of a lane that is alone
_SHARED_BATCH = 16  # the default if lanes share a CPU: with AMX, 10 take 8 % longer per image, 32 no less
_LARGEST_BATCH = 512  # that is probed; the look-ahead could hardly fill a larger one
_GPU_LANES = 2  # per GPU: while one computes, the other copies its pixels there and its vectors back
_CPU_LANES = 4  # that share the threads: lanes with one thread each do not wait for each other, as threads of one do
_GAIN = 1.05  # times as many images/s for which a batch twice as large is taken


class Lanes:
    """All lanes of a model. Opening them loads the image tower on each device, and may probe for a batch size.

    `count` is how many batches can be embedded at once. `batch` is how many images to give at once; it is halved for
    good when a device's memory does not hold a batch.
    """

    def __init__(
        self,
        towers: Towers | OpenClipTowers,
        preprocessing: Preprocessing,
        devices: Sequence[str],
        dtype: str,
        requested_batch: int,
    ) -> None:
        self._devices = devices
        loaded = {device: towers.images(device) for device in dict.fromkeys(devices)}
        names = _lane_devices(devices, requested_batch)
        self.count = len(names)
        self._free: queue.Queue[_Lane] = queue.Queue()
        for name in names:
            self._free.put(_Lane(loaded[name], preprocessing, name, dtype, len(names)))
        self.batch = self._first_batch(requested_batch, preprocessing)

    def embed(self, pixels: Pixels) -> NDArray[np.float32]:
        """Embed n images into (n, dim) float32 in the next free lane; raises ModelError."""
        lane = self._free.get()
        try:
            rows: list[NDArray[np.float32]] = []
            at = 0
            while at < len(pixels):
                batch = self.batch
                try:
                    rows.append(lane(pixels[at : at + batch], batch))
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    self._halve(batch, error)
                else:
                    at += batch
        finally:
            self._free.put(lane)
        return np.concatenate(rows) if len(rows) != 1 else rows[0]

    def _halve(self, batch: int, error: Exception) -> None:
        """Halve the batch, unless another lane has; raises ModelError if it was one image."""
        if batch == 1:
            raise ModelError(
                f"--device {self._devices[0]}: its memory does not hold the model and one image; choose another"
            ) from error
        self.batch = min(self.batch, batch // 2)
        if self._devices[0].startswith("cuda"):
            import_torch().cuda.empty_cache()

    def _first_batch(self, requested: int, preprocessing: Preprocessing) -> int:
        if self._devices[0].startswith("cuda"):
            return requested or self._probe(preprocessing)
        if self.count == 1:
            return requested or _BATCH
        # A kill loses what is in the lanes and the one batch that waits: together, no more than the requested batch.
        return max(1, requested // (self.count + 1)) if requested else _SHARED_BATCH

    def _probe(self, preprocessing: Preprocessing) -> int:
        lane = self._free.get()
        shape = (preprocessing.height, preprocessing.width, 3)
        try:
            return probe(lambda size: lane(np.zeros((size, *shape), np.uint8), size))
        finally:
            self._free.put(lane)


def _lane_devices(devices: Sequence[str], requested_batch: int) -> list[str]:
    """Return the device of each lane."""
    if list(devices) == ["cpu"] and requested_batch != 1:  # a batch of one image is a search, and someone waits for it
        return ["cpu"] * min(_CPU_LANES, cpu_threads())
    return [*devices] * (_GPU_LANES if devices[0].startswith("cuda") else 1)


class _Lane:
    """One batch at a time through a tower; on a GPU by page-locked memory and a stream of its own."""

    def __init__(
        self, tower: Callable[[Any], Any], preprocessing: Preprocessing, device: str, dtype: str, lanes: int
    ) -> None:
        torch = import_torch()
        self._threads = max(1, cpu_threads() // lanes) if device == "cpu" and lanes > 1 else 0
        self._tower = tower
        self._device = device
        self._dtype = getattr(torch, dtype)
        self._cuda = device.startswith("cuda")
        self._shape = preprocessing.height, preprocessing.width
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        self._buffer: Any = None  # the batch's pixels, reused from call to call
        # X / 255 normalised is x · 1 / (255 std) − mean / std.
        std = np.array(preprocessing.std, np.float64)
        self._scale = self._constant(1.0 / (255.0 * std))
        self._shift = self._constant(-np.array(preprocessing.mean, np.float64) / std)
        if self._cuda:
            torch.cuda.synchronize(device)  # wait for the copies, which another stream makes

    def __call__(self, pixels: Pixels, size: int) -> NDArray[np.float32]:
        """Embed pixels in a batch of `size`, filled up with black."""
        torch = import_torch()
        with torch.inference_mode(), self._on_stream(torch), self._on_threads(torch):
            batch = self._on_device(torch, pixels, size).mul_(self._scale).add_(self._shift)
            return features_to_numpy(self._tower(batch.to(self._dtype)))[: len(pixels)]

    def _on_device(self, torch: Any, pixels: Pixels, size: int) -> Any:
        """Return the pixels as float32, (size, 3, height, width), from 0 to 255."""
        if not isinstance(pixels, np.ndarray) and any(isinstance(one, Crop) for one in pixels):
            resized = resize_crops(pixels, *self._shape, self._device)
            return torch.nn.functional.pad(resized, (0,) * 7 + (size - len(pixels),))
        batch = self._fill(torch, pixels, size).to(self._device, non_blocking=True)
        return batch.permute(0, 3, 1, 2).to(torch.float32)

    def _fill(self, torch: Any, pixels: Any, size: int) -> Any:
        if isinstance(pixels, np.ndarray) and len(pixels) == size and not self._cuda:
            return torch.from_numpy(pixels)
        if self._buffer is None or len(self._buffer) != size:
            self._buffer = torch.empty((size, *pixels[0].shape), dtype=torch.uint8, pin_memory=self._cuda)
        buffer = self._buffer.numpy()
        np.stack(list(pixels), out=buffer[: len(pixels)])
        buffer[len(pixels) :] = 0
        return self._buffer

    @contextmanager
    def _on_stream(self, torch: Any) -> Iterator[None]:
        with torch.cuda.stream(self._stream) if self._cuda else nullcontext():
            yield

    @contextmanager
    def _on_threads(self, torch: Any) -> Iterator[None]:
        """Compute on the lane's share of the threads; other work of this Python thread uses all of them."""
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            if self._threads:
                torch.set_num_threads(cpu_threads())

    def _constant(self, values: NDArray[np.float64]) -> Any:
        torch = import_torch()
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)


def probe(embed: Callable[[int], object], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the batch size at which `embed` is fastest: doubled while that is faster and the memory holds it."""
    best, rate = 0, 0.0
    size = _BATCH
    while size <= _LARGEST_BATCH:
        try:
            embed(size)  # the first call with a size chooses kernels
            begun = clock()
            for _ in range(3):
                embed(size)
            now = 3 * size / max(clock() - begun, 1e-9)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return best or size // 2
        if now < _GAIN * rate:
            return best
        best, rate, size = size, now, 2 * size
    return best


def features_to_numpy(features: Any) -> NDArray[np.float32]:
    """Return a model's features as (n, dim) float32 in main memory."""
    rows: NDArray[np.float32] = features.float().cpu().numpy()
    return rows
