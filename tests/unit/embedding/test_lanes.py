"""Lanes: their batches, their threads, and devices whose memory is too small."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.late import torch

from ingest.core.errors import ModelError
from ingest.embedding import lanes
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.lanes import probe

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

BATCH = 4


def loaded(folder: Path, batch: int = BATCH) -> ClipEncoder:
    return ClipEncoder(resolve(str(folder)), "cpu", "float32", batch)


def test_several_devices_give_the_same_vectors_as_one(tiny_clip):
    pixels = np.random.default_rng(1).integers(0, 256, (6, BATCH, 32, 32, 3), dtype=np.uint8)
    encoder = ClipEncoder(resolve(str(tiny_clip)), "cpu,cpu", "float32", BATCH)
    assert encoder.size() == (BATCH // 3, 2), "they share the batch with what waits for one of them"
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(encoder.images, pixels))
    np.testing.assert_allclose(rows, [loaded(tiny_clip).images(batch) for batch in pixels], rtol=1e-4, atol=1e-5)


def test_a_batch_that_is_not_requested_is_16_for_each_lane_of_a_cpu(tiny_clip):
    size = loaded(tiny_clip, batch=0).size()
    assert size.batch == (16 if size.lanes > 1 else 32)


def _shared(each: int, lanes: int) -> int:
    """Return the requested batch for which a lane gets `each`."""
    return each * (lanes + 1 if lanes > 1 else 1)


def test_a_batch_that_memory_does_not_hold_is_halved_for_good(tiny_clip, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    count = loaded(tiny_clip).size().lanes
    expected = loaded(tiny_clip, batch=_shared(2, count)).images(pixels)
    sizes = []
    convert = lanes.features_to_numpy

    def small(features: Tensor) -> np.ndarray:
        sizes.append(len(features))
        if len(features) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return convert(features)

    monkeypatch.setattr(lanes, "features_to_numpy", small)
    encoder = loaded(tiny_clip, batch=_shared(8, count))
    np.testing.assert_array_equal(encoder.images(pixels), expected)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert encoder.size().batch == 2


def test_a_device_that_does_not_hold_one_image_is_one_line(tiny_clip, monkeypatch):
    def full(_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lanes, "features_to_numpy", full)
    with pytest.raises(ModelError, match="its memory does not hold the model and one image"):
        loaded(tiny_clip).images(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("holds", "fast_up_to", "expected"), [(512, 512, 512), (512, 128, 128), (100, 512, 64), (20, 512, 16)]
)
def test_the_batch_is_doubled_while_that_is_faster_and_fits_the_memory(holds, fast_up_to, expected):
    now = [0.0]

    def embed(size: int) -> None:
        if size > holds:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        now[0] += max(1.0, size / fast_up_to)

    assert probe(embed, lambda: now[0]) == expected


def test_lanes_that_share_the_threads_restore_their_number(tiny_clip):
    before = torch.get_num_threads()
    loaded(tiny_clip).images(np.zeros((1, 32, 32, 3), np.uint8))
    assert torch.get_num_threads() == before
