"""CLIP and models with its two methods (SigLIP) by transformers, on whatever devices there are."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ModelError
from ingest.embedding.device import cpu_threads, import_torch, is_out_of_memory, pick_devices, pick_dtype
from ingest.embedding.encoder import Size
from ingest.embedding.towers import Towers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.tokenizer import Tokenizer

_BATCH = 32  # the first that is probed, and where nothing is asked for what one lane alone takes
_SHARED_BATCH = 16  # what one of several lanes of a CPU takes: of AMX, 10 take 8 % longer a picture, 32 no less
_MOST = 512  # the largest batch that is probed; the look-ahead would hardly feed a larger one
_LANES = 2  # for each GPU: while one computes, the other copies its pixels there and its rows back
_CPU_LANES = 4  # that share the threads: two of one thread need not wait for each other as one of two threads does
_GAIN = 1.05  # times as many pictures/s, for which a batch twice as large is taken


class ClipEncoder:
    """An Encoder that loads its model when first asked to embed, so that a run with nothing to do never does.

    `device` is one name, several with commas between, or `auto`. `batch` is 0 to find one: on a GPU 32, doubled for
    as long as that is faster, on a CPU 16 for each lane. A batch that the device's memory does not hold is halved for
    good. `images` may be called from as many threads at once as `size` has lanes; lanes of one CPU share the batch
    asked for with one that waits.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: str, batch: int) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._dtype = dtype
        self._asked = batch
        self._opening = threading.Lock()
        self._count = 1

    @property
    def space(self) -> Space:
        """The checkpoint's space."""
        return self._checkpoint.space

    @cached_property
    def devices(self) -> list[str]:
        """`cuda:0`, …, `mps` or `cpu`; raises ModelError where a device asked for is not there."""
        return pick_devices(self._device)

    @cached_property
    def dtype(self) -> str:
        """`bfloat16`, `float16` or `float32`."""
        return pick_dtype(self._dtype, self.devices[0])

    def size(self) -> Size:
        """Return how many pictures to give at once, and on how many threads; loads the model to find out.

        The tokenizer too, so that a catalog is not embedded by a model that no text can search.
        """
        with self._opening:
            self._tokenizer, self._lanes  # noqa: B018  opened now
            return Size(self._batch, self._count)

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed (n, height, width, 3) uint8 RGB into (n, dim) float32.

        A batch that is not full is filled up: a kernel chosen for another number of rows rounds differently. So what
        else is in a batch does not matter; the place in it may, in the last digits of float32.
        """
        with self._opening:
            lanes, _ = self._lanes, self._batch
        lane = lanes.get()
        try:
            rows: list[NDArray[np.float32]] = []
            at = 0
            while at < len(pixels):
                batch = self._batch
                try:
                    rows.append(lane(pixels[at : at + batch], batch))
                except Exception as error:  # noqa: BLE001  raised again where memory is not the cause
                    self._halve(batch, error)
                else:
                    at += batch
        finally:
            lanes.put(lane)
        found = np.concatenate(rows) if len(rows) != 1 else rows[0]
        if found.shape[1] != self.space.dim:
            raise ModelError(
                f"{self._checkpoint.location}: gives vectors of {found.shape[1]} numbers where its config.json says "
                f"{self.space.dim}; choose a CLIP or SigLIP model"
            )
        return found

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into (n, dim) float32; what is longer than the model's context is cut, as CLIP does."""
        torch = import_torch()
        device = self.devices[0]
        tokens = {name: values.to(device) for name, values in self._tokenizer(texts).items()}
        with torch.inference_mode():
            return _rows(self._text_tower(**tokens))

    def _halve(self, batch: int, error: Exception) -> None:
        """Go on with half the batch where memory was too small; raises whatever else it was."""
        if not is_out_of_memory(error):
            raise error
        if batch == 1:
            raise ModelError(
                f"--device {self.devices[0]}: its memory does not hold the model and one picture; choose another"
            ) from error
        self._batch = min(self._batch, batch // 2)
        if self.devices[0].startswith("cuda"):
            import_torch().cuda.empty_cache()

    @cached_property
    def _lanes(self) -> queue.Queue[_Lane]:
        lanes: queue.Queue[_Lane] = queue.Queue()
        towers: dict[str, Callable[[Any], Any]] = {}
        for device in self.devices:
            if device not in towers:
                towers[device] = self._towers.pictures(device)
        if self.devices == ["cpu"] and self._asked != 1:  # one picture is a search that someone waits for
            names = self.devices * min(_CPU_LANES, cpu_threads())
        else:
            names = self.devices * (_LANES if self.devices[0].startswith("cuda") else 1)
        for name in names:
            lanes.put(_Lane(towers[name], self._checkpoint, name, self.dtype, len(names)))
        self._count = len(names)
        return lanes

    @cached_property
    def _batch(self) -> int:
        if not self.devices[0].startswith("cuda"):
            if self._count == 1:
                return self._asked or _BATCH
            # A kill loses what the lanes have under way and what waits for one of them: together the batch asked for.
            return max(1, self._asked // (self._count + 1)) if self._asked else _SHARED_BATCH
        if self._asked:
            return self._asked
        lane = self._lanes.get()
        steps = self._checkpoint.preprocessing
        try:
            return probe(lambda size: lane(np.zeros((size, steps.height, steps.width, 3), np.uint8), size))
        finally:
            self._lanes.put(lane)

    @cached_property
    def _towers(self) -> Towers:
        return Towers(self._checkpoint, self.dtype)

    @cached_property
    def _text_tower(self) -> Callable[..., Any]:
        return self._towers.texts(self.devices[0])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._towers.tokenizer()


class _Lane:
    """One batch at a time through a tower: on a GPU by page-locked memory and a stream of its own."""

    def __init__(self, tower: Callable[[Any], Any], checkpoint: Checkpoint, device: str, dtype: str, of: int) -> None:
        torch = import_torch()
        self._threads = max(1, cpu_threads() // of) if device == "cpu" and of > 1 else 0
        self._tower = tower
        self._device = device
        self._dtype = getattr(torch, dtype)
        self._cuda = device.startswith("cuda")
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        self._held: Any = None  # the batch's pixels, kept from call to call
        # X / 255 normalised is x · 1 / (255 std) − mean / std.
        std = np.array(checkpoint.preprocessing.std, np.float64)
        self._scale = self._constant(1.0 / (255.0 * std))
        self._shift = self._constant(-np.array(checkpoint.preprocessing.mean, np.float64) / std)
        if self._cuda:
            torch.cuda.synchronize(device)  # what was copied by another stream is there

    def __call__(self, pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
        """Embed pixels in a batch of `size`, filled up with black."""
        torch = import_torch()
        with torch.inference_mode(), self._on_stream(torch), self._on_threads(torch):
            batch = self._filled(torch, pixels, size).to(self._device, non_blocking=True).permute(0, 3, 1, 2)
            batch = batch.to(torch.float32).mul_(self._scale).add_(self._shift)
            return _rows(self._tower(batch.to(self._dtype)))[: len(pixels)]

    def _filled(self, torch: Any, pixels: NDArray[np.uint8], size: int) -> Any:
        if len(pixels) == size and not self._cuda:
            return torch.from_numpy(pixels)
        if self._held is None or len(self._held) != size:
            self._held = torch.empty((size, *pixels.shape[1:]), dtype=torch.uint8, pin_memory=self._cuda)
        held = self._held.numpy()
        held[: len(pixels)] = pixels
        held[len(pixels) :] = 0
        return self._held

    @contextmanager
    def _on_stream(self, torch: Any) -> Iterator[None]:
        with torch.cuda.stream(self._stream) if self._cuda else nullcontext():
            yield

    @contextmanager
    def _on_threads(self, torch: Any) -> Iterator[None]:
        """Compute on the lane's share of the threads; what else this thread of Python does has all of them."""
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
    """Return the batch with which `embed` is fastest: doubled while that gains, never beyond what memory holds."""
    best, rate = 0, 0.0
    size = _BATCH
    while size <= _MOST:
        try:
            embed(size)  # the first of a size chooses kernels
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


def _rows(features: Any) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = features.float().cpu().numpy()
    return rows
