"""The embedding stage: full batches, shared images, order, and invalid vectors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ingest.core.contract import Space
from ingest.core.records import Decoded, Embedded, Product, Reason, Skipped, Stage
from ingest.embedding import encoder as embedding
from ingest.embedding.encoder import CountingEncoder, Pixels, Size, embed, normalize

DIM = 4


class Colours:
    """An encoder whose vector is the first pixel's colour and 1; it notes the sizes of its batches."""

    space = Space("colours", "1", DIM, {})

    def __init__(self) -> None:
        self.batches: list[int] = []

    def images(self, pixels: Pixels) -> np.ndarray:
        self.batches.append(len(pixels))
        pixels = np.stack(list(pixels))
        return np.concatenate([pixels[:, 0, 0], np.ones((len(pixels), 1))], axis=1).astype(np.float32)

    def texts(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), DIM), np.float32)


class Broken(Colours):
    """A colour of 0 gives length 0, 1 is not a number, 2 is infinite."""

    def images(self, pixels: Pixels) -> np.ndarray:
        rows, pixels = super().images(pixels), np.stack(list(pixels))
        rows[pixels[:, 0, 0, 0] == 0] = 0
        rows[pixels[:, 0, 0, 0] == 1] = np.nan
        rows[pixels[:, 0, 0, 0] == 2, 1] = np.inf
        return rows


def decoded(product_id: str, colour: int) -> Decoded:
    pixels = np.full((2, 2, 3), colour, np.uint8)
    return Decoded(Product(product_id, "", {}, 7), bytes([colour] * 32), pixels)


SKIPPED = Skipped("s", Stage.DECODE, Reason.TRUNCATED, "cut off", 3)
KNOWN = Embedded(Product("k", "", {}, 4), bytes(32), np.full(DIM, 0.5, np.float32))


def ids(records: list[Embedded | Skipped]) -> list[str]:
    return [r.product_id if isinstance(r, Skipped) else r.product.product_id for r in records]


def test_vectors_have_unit_length_and_belong_to_their_images():
    out = list(embed([decoded(f"p{number}", 10 + number) for number in range(5)], Colours(), batch=2))
    for number, record in enumerate(out):
        expected = np.array([10 + number] * 3 + [1], np.float64)
        np.testing.assert_allclose(record.vector, expected / np.linalg.norm(expected), rtol=1e-6)
        assert record.vector.dtype == np.float32
        assert record.sha256 == bytes([10 + number] * 32)


def test_all_batches_but_the_last_are_full():
    encoder = Colours()
    list(embed([decoded(f"p{number}", number) for number in range(11)], encoder, batch=4))
    assert encoder.batches == [4, 4, 3]


def test_records_without_pixels_do_not_make_batches_smaller_and_all_keep_their_order():
    encoder = Colours()
    records = [SKIPPED, decoded("a", 10), KNOWN, decoded("b", 11), SKIPPED, decoded("c", 12), KNOWN, decoded("d", 13)]
    out = list(embed(records, encoder, batch=2))
    assert ids(out) == ["s", "a", "k", "b", "s", "c", "k", "d"]
    assert out[0] is SKIPPED
    assert out[2] is KNOWN
    assert encoder.batches == [2, 2]


def test_a_shared_image_is_embedded_once():
    encoder = Colours()
    records = [decoded(f"p{number}", number % 3) for number in range(30)]
    out = list(embed(records, encoder, batch=2))
    assert sum(encoder.batches) == 3
    assert ids(out) == ids(records)
    assert all(record.sha256 == bytes([number % 3] * 32) for number, record in enumerate(out))


def test_records_that_need_no_batch_pass_at_once():
    def endless():
        while True:
            yield KNOWN

    assert next(embed(endless(), Colours(), batch=4)) is KNOWN


def test_one_image_does_not_hold_up_a_million_known_ones():
    drawn = 0

    def source():
        nonlocal drawn
        yield decoded("new", 10)
        for _ in range(1_000_000):
            drawn += 1
            yield KNOWN

    assert next(embed(source(), Colours(), batch=4)).product.product_id == "new"
    assert drawn < 1000


def test_kept_vectors_are_bounded(monkeypatch):
    monkeypatch.setattr(embedding, "_KEPT_MIN", 2)
    monkeypatch.setattr(embedding, "_KEPT_BATCHES", 1)
    encoder = Colours()
    list(embed([decoded(f"p{number}", number % 5) for number in range(10)], encoder, batch=1))
    assert sum(encoder.batches) == 10


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_a_vector_of_length_0_or_not_finite_skips_every_product_that_shares_it(colour):
    records = [decoded("good", 9), decoded("bad", colour), decoded("also bad", colour), decoded("fine", 8)]
    out = list(embed(records, Broken(), batch=2))
    assert ids(out) == ["good", "bad", "also bad", "fine"]
    assert [isinstance(record, Skipped) for record in out] == [False, True, True, False]
    assert (out[1].stage, out[1].reason, out[1].line) == (Stage.EMBEDDING, Reason.BAD_VECTOR, 7)


def test_without_records_nothing_is_embedded():
    encoder = Colours()
    assert list(embed([], encoder, batch=4)) == []
    assert encoder.batches == []


def test_tiny_and_huge_rows_become_unit_rows_too():
    rows = normalize(np.array([[1e-30, 0], [3e38, 3e38], [0, 0], [np.nan, 1]], np.float32))
    np.testing.assert_allclose(rows[:2], [[1, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert np.isnan(rows[2]).all()
    assert np.isnan(rows[3]).any()


def test_a_counting_encoder_reports_how_many_each_call_embedded():
    told: list[int] = []
    counted = CountingEncoder(Colours(), told.append)
    list(embed([decoded(f"p{number}", number) for number in range(5)], counted, batch=3))
    assert told == [3, 2]
    assert counted.space == Colours.space
    assert counted.texts(["a"]).shape == (1, DIM)


class Slow(Colours):
    """The darker the first image of a batch, the longer it takes; notes how many calls ran at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def images(self, pixels: Pixels) -> np.ndarray:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep((40 - int(pixels[0][0, 0, 0])) / 1000)
        with self._lock:
            self.running -= 1
        return super().images(pixels)


def test_concurrent_calls_keep_the_order_and_embed_a_shared_image_once():
    encoder = Slow()
    records = [decoded(f"p{number}", 10 + number % 20) for number in range(60)]
    out = list(embed(records, encoder, lambda: Size(batch=4, lanes=3)))
    assert ids(out) == [f"p{number}" for number in range(60)]
    assert sum(encoder.batches) == 20
    assert encoder.most <= 3
    for record, made in zip(records, out, strict=True):
        np.testing.assert_array_equal(made.vector, normalize(Colours().images(record.pixels[None]))[0])


def test_the_size_is_requested_at_the_first_image_and_not_for_embedded_ones():
    asked = []
    stream = embed([KNOWN, SKIPPED, decoded("p", 9)], Colours(), lambda: asked.append(1) or Size(2))
    assert ids([next(stream), next(stream)]) == ["k", "s"]
    assert not asked
    assert ids(list(stream)) == ["p"]
    assert asked == [1]


def test_a_vector_known_when_a_record_arrives_is_kept_until_it_leaves(monkeypatch):
    monkeypatch.setattr(embedding, "_KEPT_BATCHES", 0)
    monkeypatch.setattr(embedding, "_KEPT_MIN", 1)
    records = [decoded(f"p{number}", 3 + number % 7) for number in range(100)]
    assert ids(list(embed(records, Colours(), batch=2))) == [f"p{number}" for number in range(100)]
