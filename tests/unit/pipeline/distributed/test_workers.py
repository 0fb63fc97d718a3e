"""What a worker does with a block before the model sees it: the same as a run on one machine."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.http_server import Answer, Server
from support.image_files import saved
from support.small_shop import checkpoint

from ingest.core import contract_file
from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped
from ingest.core.settings import Settings
from ingest.pipeline.distributed.blocks import BlockItem
from ingest.pipeline.distributed.workers import Job, load_clip, prepare
from ingest.runtime.hash_index import HashIndex
from ingest.store.shared_index import SharedKeyIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = saved(Image.effect_noise((32, 32), 40).convert("RGB"), "JPEG")
BROKEN = GOOD[:20] + b"no image any more" * 20 + GOOD[-2:]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    settings = Settings(
        catalog=tmp_path / "products.csv", data=tmp_path / "data", download_missing=True, allow_private=True,
        download_tries=1, decode_in="threads", decode_workers=1,
    )  # fmt: skip
    contract = contract_file.load(contract_file.default_path())
    return Job(settings, contract, checkpoint("model-1"), str(tmp_path / "store"), load_clip)


def product(number: int, image: str, *more: str) -> Product:
    return Product(f"P{number}", image, {"image": image}, number, "", more)


def prepared(job: Job, *products: Product, unusable: tuple[tuple[bytes, str, str], ...] = ()) -> tuple:
    block = tuple(
        BlockItem(place, one, None, "", None, unusable=unusable if one.more_images else ())
        for place, one in enumerate(products)
    )
    empty = SharedKeyIndex(HashIndex(32).sorted_keys(), np.empty(0, np.int64), np.empty(0, "S1"))
    found = prepare(block, job, empty)
    pickle.dumps(found.block)
    return found.block, {record.product_id if isinstance(record, Skipped) else record.product.product_id: record
                         for record in found.pending}  # fmt: skip


def test_the_next_image_is_taken_and_the_driver_learns_which_are_unusable(job: Job, server: Server) -> None:
    missing, broken, good = server.url("/none"), server.serve("/bad", Answer(BROKEN)), server.serve("/a", Answer(GOOD))
    block, pending = prepared(job, product(0, missing, broken, good), product(1, good))
    assert [image.product.image for image in block.images] == [good, good]
    assert all(isinstance(image, ImageFile) and image.decoded is None for image in block.images), "pixels stay here"
    assert all(isinstance(record, Decoded) for record in pending.values())
    assert pending["P0"].product.metadata["image"] == good
    assert {reason for _, reason, _ in block.unusable} == {"not found", "not an image"}
    assert server.asked("/a") == 1, "the products share the download"

    again = replace(job, settings=replace(job.settings, data=job.settings.data.with_name("other")))
    block, _ = prepared(again, product(0, missing, broken, good), unusable=block.unusable)
    assert [image.product.image for image in block.images] == [good]
    assert (server.asked("/none"), server.asked("/bad"), block.unusable) == (1, 1, ())


def test_a_product_with_one_image_is_decoded_after_the_comparison(job: Job, server: Server) -> None:
    block, pending = prepared(job, product(0, server.serve("/bad", Answer(BROKEN))))
    assert isinstance(block.images[0], ImageFile)
    assert pending["P0"].reason is Reason.NOT_AN_IMAGE
    assert block.unusable == ()
