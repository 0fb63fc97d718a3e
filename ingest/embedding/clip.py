"""CLIP, and models with the same two methods such as SigLIP, by transformers; open_clip's checkpoints too."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import OPEN_CLIP_CONFIG
from ingest.embedding.device import import_torch, pick_devices, pick_dtype
from ingest.embedding.encoder import Size
from ingest.embedding.lanes import Lanes, features_to_numpy
from ingest.embedding.towers import open_towers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.encoder import Pixels
    from ingest.embedding.open_clip.model import OpenClipTowers
    from ingest.embedding.open_clip.texts import OpenClipTokenizer
    from ingest.embedding.tokenizer import Tokenizer
    from ingest.embedding.towers import Towers


class ClipEncoder:
    """An Encoder that loads its model when it first embeds, so a run with nothing to embed does not load one.

    `device` is one name, several separated by commas, or `auto`. `batch` is 0 to find one: on a GPU 32, doubled while
    that is faster; on a CPU 16 for each lane. A batch that the device's memory does not hold is halved for good.
    `images` may be called on as many threads at once as `size` has lanes. On one CPU, a requested batch is divided
    among the lanes and the batch that waits for one.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: str, batch: int) -> None:
        self._checkpoint = checkpoint
        self._requested_device = device
        self._requested_dtype = dtype
        self._requested_batch = batch
        self._opening = threading.Lock()
        self._lanes: Lanes | None = None
        self._tokenizer: Tokenizer | OpenClipTokenizer | None = None
        self._text_tower: Callable[..., Any] | None = None

    @property
    def space(self) -> Space:
        """The checkpoint's embedding space."""
        return self._checkpoint.space

    @cached_property
    def devices(self) -> list[str]:
        """`cuda:0`, …, `mps` or `cpu`; raises ModelError if a requested device is missing."""
        return pick_devices(self._requested_device)

    @cached_property
    def dtype(self) -> str:
        """`bfloat16`, `float16` or `float32`."""
        return pick_dtype(self._requested_dtype, self.devices[0])

    def size(self) -> Size:
        """Return how many images to give at once, and on how many threads; loads the model to find out.

        Loads the tokenizer too, so that a catalog is not embedded with a model that cannot be searched by text.
        """
        with self._opening:
            self._load_tokenizer()
            lanes = self._open_lanes()
        return Size(lanes.batch, lanes.count)

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Embed n images into (n, dim) float32.

        A batch that is not full is filled up, because a kernel for another number of rows rounds differently. So a
        vector does not depend on the rest of its batch, though its position may change the last digits of float32.
        """
        with self._opening:
            lanes = self._open_lanes()
        rows = lanes.embed(pixels)
        if rows.shape[1] != self.space.dim:
            config = "config.json" if self._checkpoint.open_clip is None else OPEN_CLIP_CONFIG
            raise ModelError(
                f"{self._checkpoint.location}: gives vectors of {rows.shape[1]} numbers, but its {config} says "
                f"{self.space.dim}; choose a CLIP or SigLIP model"
            )
        return rows

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into (n, dim) float32; a text longer than the model's context is cut, as CLIP does."""
        torch = import_torch()
        tokenizer, tower = self._load_tokenizer(), self._load_text_tower()
        tokens = {name: values.to(self.devices[0]) for name, values in tokenizer(texts).items()}
        with torch.inference_mode():
            return features_to_numpy(tower(**tokens))

    def _open_lanes(self) -> Lanes:
        if self._lanes is None:
            preprocessing = self._checkpoint.preprocessing
            self._lanes = Lanes(self._towers, preprocessing, self.devices, self.dtype, self._requested_batch)
        return self._lanes

    def _load_tokenizer(self) -> Tokenizer | OpenClipTokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._towers.tokenizer()
        return self._tokenizer

    def _load_text_tower(self) -> Callable[..., Any]:
        if self._text_tower is None:
            self._text_tower = self._towers.texts(self.devices[0])
        return self._text_tower

    @cached_property
    def _towers(self) -> Towers | OpenClipTowers:
        return open_towers(self._checkpoint, self.dtype)
