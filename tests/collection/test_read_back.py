"""Vectors that the store lacks: read back from rows that are today's catalog's, embedded again otherwise."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.small_shop import FIVE, SmallShop, picture_vector

from ingest.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = np.stack([picture_vector("model-1", number) for number in range(5)])
STRANGE = picture_vector("elsewhere", 2)


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(FIVE)
    shop.run(exports=True)
    return shop


def meddle(shop: SmallShop, product_id: str, **changes: Any) -> None:
    """Let another app write a row."""
    with shop.client() as client:
        client.load_collection("products")
        name = client.describe_collection("products")["collection_name"]
        row = client.query(name, filter=f'product_id == "{product_id}"', output_fields=["*"])[0]
        client.upsert(name, [row | changes])


def lose_store(shop: SmallShop) -> None:
    """Make this a machine that has no vectors yet."""
    shutil.rmtree(shop.settings.data / "embeddings")


def damage_store(shop: SmallShop, *keep: int) -> None:
    """Damage all vectors but these, by their places in their shards."""
    for path in shop.settings.data.glob("embeddings/store/*/*/embeddings.npy"):
        rows = np.load(path)
        rows[[at for at in range(len(rows)) if at not in keep]] = 0
        np.save(path, rows)


def assert_right(shop: SmallShop) -> None:
    """Check collection, exports and what `verify` says of them."""
    rows = shop.rows()
    assert (
        np.stack([rows[f"P{number}"]["embedding"] for number in range(5)]).astype(np.float32).tobytes()
        == RIGHT.tobytes()
    )
    assert np.load(shop.settings.npy).tobytes() == RIGHT.tobytes()
    verdict = shop.verify(exports=True, embed=5)
    assert (verdict.differing, verdict.sampled, verdict.embedded) == ([], 5, 5)


def test_a_machine_without_vectors_reads_them_back_and_embeds_nothing(shop: SmallShop) -> None:
    lose_store(shop)
    before = shop.embedded
    assert shop.plan(exports=True).embed == 0
    outcome = shop.run(exports=True)
    assert (shop.embedded, outcome.summary.unchanged, outcome.summary.upserted) == (before, 5, 0)
    assert_right(shop)


@pytest.mark.parametrize(
    "changes",
    [
        {"row_digest": "0" * 32},
        {"row_digest": "another app's"},
        {"image_sha256": "ab" * 32},
        {"embedding": (2 * STRANGE).tolist()},
        {"embedding": STRANGE.tolist(), "row_digest": "f" * 32},
    ],
)
def test_a_stranger_s_vector_never_gets_into_the_store(shop: SmallShop, changes: dict[str, Any]) -> None:
    """Also under the key of another product's image, which a row may claim to have."""
    lose_store(shop)
    meddle(shop, "P2", **({"embedding": STRANGE.tolist()} | changes))
    if changes.get("row_digest") == "another app's":
        with shop.client() as client:
            client.load_collection("products")
            client.delete("products", filter='product_id == "P2"')
    shop.run(exports=True)
    assert_right(shop)


def test_a_row_that_claims_another_product_s_image_does_not_give_it_its_vector(shop: SmallShop) -> None:
    sha = shop.rows()["P3"]["image_sha256"]
    lose_store(shop)
    meddle(shop, "P2", image_sha256=sha, embedding=STRANGE.tolist())
    shop.run(exports=True)
    assert_right(shop)


def test_a_vector_of_which_only_embedding_again_tells_that_it_is_wrong(shop: SmallShop) -> None:
    lose_store(shop)
    meddle(shop, "P2", embedding=STRANGE.tolist())
    shop.run(exports=True)
    assert shop.verify(exports=True).differing == [], "digests and store agree"

    found = shop.verify(exports=True, embed=5)
    assert [(fault.kind, fault.name) for fault in found.differing] == [("embedding", "P2")]
    assert "4 images embedded again, cosine ≥ 1.0000" in found.proven or "cosine ≥ 0.9999" in found.proven

    assert shop.repair(exports=True, embed=5).differing == []
    assert_right(shop)


def test_the_command_embeds_again_and_says_what_is_proven(shop: SmallShop) -> None:
    where = ["--data", str(shop.settings.data), "--catalog", str(shop.settings.catalog), "--model", "model-1", "-q"]
    with shop.faked():
        right = CliRunner().invoke(cli, ["verify", *where, "--embed", "3", "--seed", "1", "--json"])
        meddle(shop, "P2", embedding=STRANGE.tolist())
        wrong = CliRunner().invoke(cli, ["verify", *where, "--embed", "5"])
    assert "3 images embedded again" in json.loads(right.stdout)["proven"]
    assert wrong.exception is not None
    assert "embedding P2 is not its image's: cosine" in wrong.output


def test_damaged_vectors_are_read_back_before_exports_are_written(shop: SmallShop) -> None:
    damage_store(shop)
    shop.settings.npy.unlink()
    before = shop.embedded
    assert shop.run(exports=True).summary.unchanged == 5
    assert shop.embedded == before
    assert_right(shop)


def test_a_vector_that_nobody_has_any_more_is_embedded_again(shop: SmallShop) -> None:
    damage_store(shop)
    meddle(shop, "P2", embedding=(2 * STRANGE).tolist())
    shop.settings.npy.unlink()
    summary = shop.run(exports=True).summary
    assert (summary.embedded, summary.upserted, summary.unchanged) == (1, 1, 4)
    assert_right(shop)


def test_a_repair_after_damage_leaves_no_export_that_lacks_rows(shop: SmallShop) -> None:
    damage_store(shop)
    content = bytearray(shop.settings.npy.read_bytes())
    content[-3] ^= 1
    shop.settings.npy.write_bytes(content)
    assert {fault.kind for fault in shop.verify(exports=True).differing} >= {"vector", "file"}
    assert shop.repair(exports=True).differing == []
    assert_right(shop)


def test_exports_that_lack_rows_are_not_called_right(shop: SmallShop) -> None:
    """Without a collection at hand `ingest export` writes what it has, and the manifest says what that is."""
    damage_store(shop, 0)
    where = ["--data", str(shop.settings.data), "--catalog", str(shop.settings.catalog), "--model", "model-1", "-q"]
    shop.settings.npy.unlink()
    with shop.faked():
        ended = CliRunner().invoke(cli, ["export", *where, "--allow-smaller"])
    assert "no vector yet" in ended.output
    assert len(np.load(shop.settings.npy)) < 5
    assert "file" in {fault.kind for fault in shop.verify(exports=True).differing}
    shop.run(exports=True)
    assert_right(shop)


def test_a_product_that_fails_today_is_carried_by_a_machine_without_vectors(shop: SmallShop) -> None:
    lose_store(shop)
    (shop.folder / "images" / "4.png").write_bytes(b"torn")
    shop.run(exports=True)
    assert np.load(shop.settings.npy).tobytes() == RIGHT.tobytes()
    assert shop.verify(exports=True).differing == []
