"""`ingest doctor` finds what a run would fail on, and says what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.shop import Shop, sample_products, without_torch

if TYPE_CHECKING:
    from e2e.conftest import Finished

CHECKS = ["python", "torch", "device", "model", "contract", "milvus", "catalog", "disk"]


def test_where_all_is_well_each_check_is_one_line(finished: Finished) -> None:
    ended = finished.shop.ingest("doctor")

    lines = ended.out.splitlines()
    assert (ended.code, ended.said) == (0, [])
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == CHECKS
    assert all(line.startswith("ok ") for line in lines if not line.startswith(" "))
    assert "serves products_" in ended.out


def test_everything_wrong_is_told_with_a_way_out_and_the_first_gives_the_exit_code(new_shop: Shop) -> None:
    new_shop.stock(sample_products(1))

    ended = new_shop.ingest(
        "doctor", "--json", "--catalog", "nowhere.csv", "--model", "./nowhere", "--uri", "http://127.0.0.1:9",
        **without_torch(),
    )  # fmt: skip

    findings = {finding["name"]: finding for finding in ended.json}
    assert ended.code == 9
    assert list(findings) == CHECKS
    assert {name: finding["exit_code"] for name, finding in findings.items() if finding["exit_code"]} == {
        "torch": 9,
        "device": 9,
        "model": 6,
        "milvus": 5,
        "catalog": 3,
    }
    assert all(finding["way_out"] for finding in findings.values() if finding["exit_code"])


def test_what_is_wrong_is_marked_for_people_and_nothing_is_made(new_shop: Shop) -> None:
    new_shop.stock(sample_products(1))

    ended = new_shop.ingest("doctor", **without_torch())

    assert ended.code == 9
    assert "FAIL torch" in ended.out
    assert "→ pip install torch transformers" in ended.out
    assert "ingest run creates it" in ended.out
    assert not new_shop.data.exists()
