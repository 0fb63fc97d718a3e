"""The records that travel down the line."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from ingest.core import records
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage

PRODUCT = Product("a", "a.jpg", {"price": 1.5}, 2)
SKIPPED = Skipped("a", Stage.IMAGES, Reason.NOT_FOUND, "HTTP 404", 2)


def test_what_is_wrong_with_the_data_does_not_heal():
    assert {reason for reason in Reason if not reason.is_transient} == {
        Reason.NO_ID,
        Reason.ID_TOO_LONG,
        Reason.DUPLICATE_ID,
        Reason.NO_IMAGE,
        Reason.BAD_ROW,
        Reason.BAD_METADATA,
        Reason.NOT_DOWNLOADED,
        Reason.NOT_FOUND,
        Reason.HTTP_4XX,
        Reason.BLOCKED_ADDRESS,
        Reason.DISALLOWED,
        Reason.TOO_LARGE,
        Reason.NOT_AN_IMAGE,
        Reason.TOO_SMALL,
        Reason.BLANK,
        Reason.BAD_VECTOR,
        Reason.FOREIGN_ROW,
        Reason.KILLED_WORKER,
    }


@pytest.mark.parametrize("record", [PRODUCT, SKIPPED, ImageFile(PRODUCT, Path("a.jpg"), bytes(32))])
def test_records_pickle_so_that_they_travel_between_processes(record):
    assert pickle.loads(pickle.dumps(record)) == record


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        PRODUCT.product_id = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        SKIPPED.product_id = "b"  # type: ignore[misc]


def test_every_record_is_frozen_and_slotted_or_a_tuple():
    classes = [value for value in vars(records).values() if dataclasses.is_dataclass(value)]
    assert len(classes) == 4
    assert all(value.__dataclass_params__.frozen and "__slots__" in vars(value) for value in classes)
    assert all(isinstance(record, tuple) for record in (PRODUCT, ImageFile(PRODUCT, Path("a.jpg"), bytes(32))))


def test_stages_and_reasons_print_as_users_see_them():
    assert f"{SKIPPED.stage}: {SKIPPED.reason}" == "images: not found"
    assert len({reason.value for reason in Reason}) == len(Reason)
