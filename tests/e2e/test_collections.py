"""The commands that keep collections: listing, rolling back, and dropping old ones, never the one that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from support.shop import Ended, Shop


def listed(shop: Shop) -> dict[str, bool]:
    """Return whether each collection is the served one."""
    found: list[dict[str, Any]] = shop.ingest("collections", "--json").json
    return {release["name"]: release["serves"] for release in found}


def answered(shop: Shop, answer: str, *arguments: str) -> Ended:
    return shop.ingest("collections", "prune", *arguments, stdin=answer)


def test_rollback_serves_the_one_before_and_pruning_asks_and_spares_what_is_served(
    shop: Shop, other_model: Path
) -> None:
    before = shop.rows()
    (old,) = listed(shop)
    shop.run("--model", other_model)
    (new,) = listed(shop).keys() - {old}
    assert listed(shop) == {new: True, old: False}

    assert answered(shop, "", "--keep", "1").out == "nothing to drop\n"

    ended = shop.ingest("rollback")
    assert ended.code == 0
    assert f"serves {old} again, no longer {new}" in ended.out
    assert listed(shop) == {old: True, new: False}
    assert shop.rows() == before

    for answer, code, last in (("n\n", 0, "nothing was dropped"), ("", 2, "There is nobody to answer")):
        refused = answered(shop, answer, "--keep", "0")
        assert (refused.code, new in refused.out) == (code, True)
        assert "Permanently drop this collection?" in refused.err
        assert last in (refused.out + refused.err).splitlines()[-1 if code else -2]
        assert listed(shop) == {old: True, new: False}

    dropped = answered(shop, "y\n", "--keep", "0")
    assert (dropped.code, f"dropped {new}" in dropped.out) == (0, True)
    assert listed(shop) == {old: True}
    assert shop.rows() == before

    assert shop.ingest("collections", "prune", "--keep", "0", "--yes").out == "nothing to drop\n"
    assert listed(shop) == {old: True}
    ended = shop.ingest("rollback")
    assert (ended.code, len(ended.said)) == (5, 1)
    assert "there is no collection that products served before" in ended.said[0]
