"""Decoding in worker processes: the same results as on threads, and a killer costs nothing but itself."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.image_files import saved
from support.odd_jpegs import odd_jpeg

from ingest.core.records import Crop, Reason
from ingest.embedding.preprocess import CLIP
from ingest.images.decode.base import DecodedImage
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.in_processes import PROGRAM, TRIES, ProcessDecoder
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import ThreadDecoder
from ingest.images.decode.sandbox import Sandbox
from ingest.images.reading import FileFacts
from ingest.runtime.worker_processes import LEAST_SHARED_BYTES, WorkerProcesses

# Kills itself with each file that is called kill…, hangs with hang…, and notes each try.
MEDDLED = """
import os, signal, time
from pathlib import Path
from ingest.images.decode import model_pixels, worker
from ingest.runtime.worker_processes import serve

decode = model_pixels.decode

def meddled(path, *arguments, **options):
    if path.name.startswith(("kill", "hang")):
        with path.with_suffix(".tries").open("a") as file:
            file.write(".")
        if path.name.startswith("hang"):
            time.sleep(99)
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(path, *arguments, **options)

model_pixels.decode = meddled
serve(worker.handle)
"""


@pytest.fixture
def processes():
    with WorkerProcesses(PROGRAM, 1) as processes:
        yield processes


@pytest.fixture
def meddled():
    with WorkerProcesses("", 1, timeout_s=0.5, command=[sys.executable, "-c", MEDDLED]) as processes:
        yield processes


def decoder(processes):
    return ProcessDecoder(processes, CLIP, CLIP.least, 64_000_000)


def written(folder, contents):
    files = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        files.append((folder / name, hashlib.sha256(content).digest()))
    return files


def shown(outcome):
    if isinstance(outcome, UndecodableError):
        return outcome.reason, outcome.detail
    return outcome.pixels.tobytes(), outcome.content


def facts(read):
    return (read.facts.errno, read.facts.strerror) if isinstance(read.facts, OSError) else read.facts


def contents(photo, jpeg):
    kinds = {kind: saved(photo, kind) for kind in ("PNG", "TIFF", "GIF", "WEBP", "BMP", "AVIF")}
    odd = {f"odd{seed}": odd_jpeg(seed).content for seed in range(40)}
    return {**kinds, **odd, "text": b"no image", "empty": b"", "cut": jpeg[:700], "jpeg": jpeg}


def test_the_results_are_those_of_threads(tmp_path, photo, jpeg, processes):
    files = written(tmp_path, contents(photo, jpeg))
    files += [(tmp_path / "missing", bytes(32)), (files[0][0], bytes(32))]
    with Sandbox() as sandbox:
        here = ThreadDecoder(ModelPixels(CLIP, CLIP.least, sandbox=sandbox))
        assert list(map(shown, decoder(processes).decode(files))) == list(map(shown, here.decode(files)))
        paths = [path for path, _ in files]
        results = []
        for one in (decoder(processes), here):
            read = one.read(paths, lambda facts: [number % 3 > 0 for number in range(len(facts))])
            results.append([(facts(file), file.outcome and shown(file.outcome)) for file in read])
    assert results[0] == results[1]
    outcomes = [outcome for _, outcome in results[0]]
    assert [outcome is None for outcome in outcomes[:6]] == [True, False, False] * 2
    assert outcomes[-2] is None, "it could not be read"


def test_no_process_reads_more_than_it_is_asked(tmp_path, jpeg, processes):
    ((path, sha256),) = written(tmp_path, {"a.jpg": jpeg})
    (read,) = decoder(processes).read([path], lambda _: [False])
    assert (read.facts.sha256, read.outcome) == (sha256, None)
    assert isinstance(read.facts, FileFacts)


@pytest.mark.parametrize("kind", ["kill", "hang"])
def test_a_killer_costs_two_tries_and_no_other_image(tmp_path, jpeg, meddled, kind):
    names = ["a.jpg", f"{kind}1.jpg", "b.jpg", f"{kind}2.jpg", "c.jpg"]
    files = written(tmp_path, {name: jpeg + name.encode() for name in names})
    paths = [path for path, _ in files]

    def read():
        return [one.outcome for one in decoder(meddled).read(paths, lambda facts: [True] * len(facts))]

    for decode in (lambda: decoder(meddled).decode(files), read):
        outcomes = decode()
        assert [isinstance(outcome, DecodedImage) for outcome in outcomes] == [True, False, True, False, True]
        assert outcomes[1].reason == Reason.NOT_AN_IMAGE
        assert outcomes[1].detail == "crashes or hangs the decoder; replace it"
        for name in names[1::2]:
            tries = (tmp_path / name).with_suffix(".tries")
            assert tries.read_text(encoding="utf-8") == "." * TRIES
            tries.unlink()


def test_an_empty_block_needs_no_process(meddled):
    assert decoder(meddled).decode([]) == []


def test_pixels_are_ours_to_keep(tmp_path, photo, processes):
    files = written(
        tmp_path, {str(number): saved(photo.rotate(90 * number, expand=True), "PNG") for number in range(3)}
    )
    one, two, three = (outcome.pixels for outcome in decoder(processes).decode(files))
    assert not np.array_equal(one, two)
    assert not np.array_equal(two, three)
    assert all(pixels.shape == (224, 224, 3) and pixels.flags.writeable for pixels in (one, two, three))


def test_more_pixels_than_a_process_shares_are_held_and_stay_what_they_are(tmp_path, jpeg, processes):
    files = written(tmp_path, {f"{number}.jpg": jpeg + bytes([number]) for number in range(4)})
    processes._shared_bytes = LEAST_SHARED_BYTES
    ours = decoder(processes)
    first = [outcome.pixels.copy() for outcome in ours.decode(files)]
    held = [outcome.pixels for _ in range(20) for outcome in ours.decode(files)]
    for number, pixels in enumerate(held):
        np.testing.assert_array_equal(pixels, first[number % 4])


def test_the_memory_of_pixels_that_nobody_holds_is_used_again(tmp_path, photo, processes):
    files = written(
        tmp_path, {str(number): saved(photo.rotate(90 * number, expand=True), "PNG") for number in range(3)}
    )
    ours = decoder(processes)
    held = ours.decode(files[:1])[0].pixels
    others = [ours.decode(files[1:])[0].pixels.__array_interface__["data"][0] for _ in range(40)]
    assert len(set(others)) == 1, "the slot that became free last"
    assert held.__array_interface__["data"][0] not in others


def test_a_block_is_decoded_in_pieces_where_the_model_takes_large_images(tmp_path, photo, jpeg, processes):
    large = replace(CLIP, height=1700, width=1700, short_side=1700)
    files = written(tmp_path, {f"{number}.jpg": jpeg + bytes([number]) for number in range(9)} | {
        "last.png": saved(photo, "PNG"),
    })  # fmt: skip
    ours = ProcessDecoder(processes, large, large.least, 64_000_000)
    here = ThreadDecoder(ModelPixels(large, large.least))
    assert list(map(shown, ours.decode(files))) == list(map(shown, here.decode(files)))
    read = ours.read([path for path, _ in files], lambda facts: [True] * len(facts))
    assert [shown(one.outcome) for one in read] == list(map(shown, here.decode(files)))


def test_crops_for_the_device_are_those_of_threads_or_resized_where_there_is_no_room(tmp_path, photo, jpeg, processes):
    large = saved(photo.resize((660, 660)), "PNG")
    small = saved(photo.resize((224, 224)), "PNG")
    files = written(
        tmp_path, {**contents(photo, jpeg), **{f"large{n}": large + bytes(n) for n in range(40)}, "small": small}
    )
    ours = ProcessDecoder(processes, CLIP, CLIP.least, 64_000_000, crops=True)
    with Sandbox() as sandbox:
        here = ThreadDecoder(ModelPixels(CLIP.crop, CLIP.least, sandbox=sandbox)).decode(files)
    kinds = set()
    for one, other in zip(ours.decode(files), here, strict=True):
        assert type(one) is type(other)
        if isinstance(one, DecodedImage):
            kinds.add((type(one.pixels), type(other.pixels)))
            if isinstance(one.pixels, Crop) or not isinstance(other.pixels, Crop):
                assert_equal(one.pixels, other.pixels)
            else:
                np.testing.assert_array_equal(one.pixels, CLIP.resize(other.pixels))
    assert kinds == {(Crop, Crop), (np.ndarray, np.ndarray), (np.ndarray, Crop)}


def assert_equal(one, other):
    if isinstance(one, Crop):
        assert one.box == other.box
        one, other = one.pixels, other.pixels
    np.testing.assert_array_equal(one, other)
