"""The commands that keep collections: listing, rolling back, and dropping old ones, never the one that is served."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from shop import COMMAND, Shop, environment_of

if TYPE_CHECKING:
    from pathlib import Path


def listed(shop: Shop) -> dict[str, bool]:
    """Return whether each collection is the served one."""
    found: list[dict[str, Any]] = shop.ingest("collections", "--json").json
    return {release["name"]: release["serves"] for release in found}


def answered(shop: Shop, answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "collections", "prune", *arguments], cwd=shop.folder, env=environment_of({}), input=answer,
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip


def test_rollback_serves_the_one_before_and_pruning_asks_and_spares_what_is_served(
    shop: Shop, other_model: Path
) -> None:
    before = shop.rows()
    (old,) = listed(shop)
    shop.run("--model", other_model)
    (new,) = listed(shop).keys() - {old}
    assert listed(shop) == {new: True, old: False}

    assert answered(shop, "", "--keep", "1").stdout == "nothing to drop\n"

    ended = shop.ingest("rollback")
    assert ended.code == 0
    assert f"serves {old} again, no longer {new}" in ended.out
    assert listed(shop) == {old: True, new: False}
    assert shop.rows() == before

    for answer, code in (("n\n", 130), ("", 130)):
        refused = answered(shop, answer, "--keep", "0")
        assert (refused.returncode, new in refused.stdout) == (code, True)
        assert "Drop 1 of them for good?" in refused.stderr
        assert listed(shop) == {old: True, new: False}

    dropped = answered(shop, "y\n", "--keep", "0")
    assert (dropped.returncode, f"dropped {new}" in dropped.stdout) == (0, True)
    assert listed(shop) == {old: True}
    assert shop.rows() == before

    assert shop.ingest("collections", "prune", "--keep", "0", "--yes").out == "nothing to drop\n"
    assert listed(shop) == {old: True}
    ended = shop.ingest("rollback")
    assert (ended.code, len(ended.said)) == (5, 1)
    assert "there is no collection that products served before" in ended.said[0]
