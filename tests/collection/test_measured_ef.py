"""An ef that was measured stays with its collection: later runs keep it, a new collection starts with the schema's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from ingest.cli.main import cli
from ingest.milvus import versions
from ingest.search.milvus_backend import SearchableCollection

if TYPE_CHECKING:
    from pathlib import Path

    from support.small_shop import SmallShop


def apply(shop: SmallShop, ef: int) -> None:
    with shop.connection() as connection:
        SearchableCollection(connection, "products").save_ef(ef)


def efs(shop: SmallShop) -> tuple[int, int, int | None]:
    with shop.connection() as connection:
        contract = SearchableCollection(connection, "products").contract
    return contract["ef"], contract["ef_schema"], contract["ef_measured"]


def schema_with(shop: SmallShop, ef: int) -> Path:
    path = shop.folder / "own.toml"
    path.write_text(shop.settings.schema.read_text(encoding="utf-8").replace("ef = 64 ", f"ef = {ef} "))
    return path


def test_a_later_run_keeps_it_also_when_the_schema_has_another(shop: SmallShop) -> None:
    assert efs(shop) == (64, 64, None)
    [before] = shop.releases()
    apply(shop, 33)

    outcome = shop.run(schema=schema_with(shop, 128))

    assert (outcome.summary.upserted, outcome.summary.unchanged) == (0, 5)
    assert efs(shop) == (33, 128, 33)
    [after] = shop.releases()
    assert after.name == before.name, "an ef makes no new collection"


def test_without_a_measured_one_a_run_brings_the_schemas(shop: SmallShop) -> None:
    shop.run(schema=schema_with(shop, 128))
    assert efs(shop) == (128, 128, None)


def test_verify_and_collections_show_both(shop: SmallShop) -> None:
    assert shop.verify().notes == []
    apply(shop, 33)

    verdict = shop.verify()

    assert (verdict.ef, verdict.ef_schema, verdict.ef_measured) == (33, 64, 33)
    assert verdict.notes == ["apps search with ef 33 (measured; the schema's is 64)"]
    assert not verdict.differing
    [release] = shop.releases()
    assert (release.ef, release.ef_schema, release.ef_measured) == (33, 64, 33)
    shown = CliRunner().invoke(cli, ["collections", "--data", str(shop.settings.data)])
    assert "ef 33 (measured; the schema's is 64); built " in shown.output


def test_another_model_starts_with_the_schemas_and_a_rollback_brings_it_back(shop: SmallShop) -> None:
    apply(shop, 33)
    shop.run(model="model-2")
    assert efs(shop) == (64, 64, None)

    with shop.connection() as connection:
        versions.rollback(connection, "products")

    assert efs(shop) == (33, 64, 33)
