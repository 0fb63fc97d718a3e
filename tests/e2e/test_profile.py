"""What a run was bound by, the trace of a run, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.shop import Shop, sample_products

if TYPE_CHECKING:
    from e2e.conftest import Finished

PRODUCTS = 40
HEAVY = {"torch", "transformers"}


def imported(shop: Shop, *arguments: str) -> set[str]:
    ended = shop.ingest(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert ended.code == 0, ended.err
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines() if "|" in line}


def test_a_run_names_what_it_was_bound_by(finished: Finished) -> None:
    summary = finished.summary

    busy = {name: stage["busy"] for name, stage in summary["stages"].items()}
    part, percent = re.fullmatch(r"([\w ]+) \((?:device |workers )?(\d+) % busy\)", summary["bound_by"]).groups()
    assert all(0 <= share <= 1 for share in busy.values())
    assert int(percent) >= 100 * max(busy.values()) - 0.6, "the busiest of all parts, exports among them"
    assert part not in busy or int(percent) == pytest.approx(100 * busy[part], abs=0.6)
    # Work that is known to be done takes time: 40 images decoded and embedded.
    assert all(busy[name] * summary["seconds"] > 0.001 for name in ("decode", "embedding"))


def test_a_run_with_nothing_to_do_names_nothing(shop: Shop) -> None:
    summary = shop.run()

    assert (summary["upserted"], summary["bound_by"], summary["hint"]) == (0, "", "")


@pytest.mark.parametrize("command", ["run", "embed"])
def test_a_profile_has_a_row_for_each_stage_and_an_event_for_each_block_of_images(new_shop: Shop, command: str) -> None:
    new_shop.stock(sample_products(PRODUCTS))

    ended = new_shop.ingest(command, "--profile", "trace.json")

    assert ended.code == 0, ended.err
    events = json.loads((new_shop.folder / "trace.json").read_text(encoding="utf-8"))
    rows = {event["args"]["name"].partition(" ")[0] for event in events if event["name"] == "thread_name"}
    stages = {"catalog", "images", "decode", "model", "embedding", "store", "exports"}
    assert rows == stages | ({"milvus"} if command == "run" else set())
    decoded = [event["args"]["product"] for event in events if event["ph"] == "X" and event["name"] == "decode"]
    assert sorted(decoded) == ["P0001 to P0032", "P0033 to P0040"], "blocks of 32"


def test_a_profile_that_cannot_be_written_is_one_line(shop: Shop) -> None:
    ended = shop.ingest("run", "--profile", "no/such/folder/trace.json")

    assert (ended.code, len(ended.said)) == (3, 1)
    assert "trace.json: cannot be written" in ended.said[0]


def test_a_dry_run_has_nothing_to_profile(shop: Shop) -> None:
    ended = shop.ingest("run", "--dry-run", "--profile", "trace.json")

    assert ended.code == 2
    assert "--profile does not work with --dry-run" in ended.err


def test_a_run_with_nothing_to_embed_imports_neither_torch_nor_transformers(shop: Shop) -> None:
    assert not imported(shop, "run") & HEAVY


def test_status_imports_nothing_heavy(shop: Shop) -> None:
    found = imported(shop, "status")

    assert not found & {*HEAVY, "numpy", "PIL", "urllib3", "requests", "pymilvus", "pandas"}
