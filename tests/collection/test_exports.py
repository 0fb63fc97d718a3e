"""The exported files over many nights: never emptied, never of another day's sample, and always what verify expects."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet
import pytest
from support.nights import Shop as TypedShop
from support.small_shop import FIVE, SmallShop, picture_vector

from ingest.exports import faiss_index
from ingest.exports.manifest import manifest_path
from ingest.pipeline.last_good_images import images_path
from ingest.pipeline.progress import Progress
from ingest.tasks import embed, export, garbage, run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.pipeline.outcome import Outcome

ALL_FAIL = dict.fromkeys(FIVE, (None, "broken"))


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path / "shop")
    shop.stock(FIVE)
    shop.run(exports=True)
    return shop


def exported(shop: SmallShop, **changes: Any) -> dict[str, NDArray[np.float32]]:
    """Return what the files hold, which must agree with one another, in their order."""
    settings = replace(shop.settings, **changes)
    ids = json.loads(settings.npy_ids.read_text(encoding="utf-8"))
    vectors = np.load(settings.npy)
    index = faiss_index.open_index(settings.indexes, vectors.shape[1])
    assert index.names == ids
    np.testing.assert_array_equal(index.rows, vectors)
    return dict(zip(ids, vectors, strict=True))


def made(shop: SmallShop, command: Any, **changes: Any) -> Outcome:
    """Run one of the pipeline's commands."""
    settings = replace(shop.settings, exports=True, **changes)
    where = (settings.npy, settings.npy_ids) if command is embed.embed else ()
    with shop.faked():
        outcome: Outcome = command(settings, Progress(), threading.Event(), *where)
    return outcome


def files(shop: SmallShop) -> dict[str, bytes]:
    """Return the bytes of all files that exports are made of."""
    data = shop.settings.data
    found = [*(data / "embeddings").glob("*.*"), *(data / "indexes").rglob("*.*")]
    return {str(path.relative_to(data)): path.read_bytes() for path in found if path.is_file()}


def for_others(found: dict[str, bytes]) -> dict[str, bytes]:
    """Return what other programs read: all but what ingest says of it to itself."""
    return {name: content for name, content in found.items() if not name.endswith((".manifest.json", ".images.npz"))}


def test_the_parquet_file_has_the_rows_of_the_pair_and_verify_sees_when_it_has_not(shop: SmallShop) -> None:
    vectors = exported(shop)
    shop.stock(FIVE | {"P1": (None, "broken")})
    settings = replace(shop.settings, parquet=True)
    assert made(shop, export.export, parquet=True).failure is None
    table = pyarrow.parquet.read_table(settings.parquet_file)
    assert table["product_id"].to_pylist() == list(vectors)
    assert np.stack(table["embedding"].to_numpy()).tobytes() == np.stack(list(vectors.values())).tobytes()
    assert table["title"].to_pylist()[1], "a product that fails today keeps its fields"
    assert shop.verify(exports=True, parquet=True).differing == []

    shop.stock(FIVE | {"new": (7, "new")})
    shop.run(exports=True)
    [stale] = shop.verify(exports=True).differing  # it is checked because it exists
    assert stale.name == str(settings.parquet_file)
    assert "ingest export --parquet" in stale.detail
    shop.run(exports=True, parquet=True)
    assert pyarrow.parquet.read_table(settings.parquet_file)["product_id"].to_pylist() == [*FIVE, "new"]
    assert shop.verify(exports=True, parquet=True).differing == []

    manifest_path(settings.parquet_file).unlink()
    [missing] = shop.verify(exports=True).differing
    assert missing.name == str(manifest_path(settings.parquet_file))
    assert "ingest export --parquet" in missing.detail
    assert made(shop, export.export, parquet=True).failure is None
    settings.parquet_file.write_bytes(settings.parquet_file.read_bytes()[:-1] + b"x")
    assert shop.repair(exports=True).differing == []
    assert pyarrow.parquet.read_table(settings.parquet_file).num_rows == len(FIVE) + 1


def test_a_plan_says_when_a_run_writes_the_parquet_file_alone(shop: SmallShop) -> None:
    parquet = shop.settings.parquet_file
    assert shop.plan(exports=True, parquet=True).also == [f"write {parquet} again"]
    shop.run(exports=True, parquet=True)
    assert shop.plan(exports=True, parquet=True).also == []
    shop.stock(FIVE | {"P1": (1, "another title")})
    planned = shop.plan(exports=True, parquet=True)
    assert (planned.changed["metadata"], planned.also) == (1, [f"write {parquet} again"])
    assert shop.plan(exports=True).also == []
    shop.run(exports=True, parquet=True)
    assert pyarrow.parquet.read_table(parquet)["title"].to_pylist()[1] == "another title"
    assert shop.plan(exports=True, parquet=True).also == []


def test_what_fails_today_keeps_its_row_at_its_place_bit_for_bit(shop: SmallShop) -> None:
    before = exported(shop)
    shop.stock(FIVE | {"P1": (None, "broken"), "P3": (3, "x" * 5000), "new": (7, "new"), "bad": (None, "broken")})

    shop.run(exports=True)

    after = exported(shop)
    assert list(after) == ["P0", "P1", "P2", "P3", "P4", "new"]
    for name in ("P1", "P3"):
        np.testing.assert_array_equal(after[name], before[name])
    assert shop.verify(exports=True).differing == []
    assert made(shop, export.export).notes == (
        "1 product has no vector yet; embed what is missing with: ingest run",
        "2 products fail today, and the files have the last good vector",
    )


@pytest.mark.parametrize("command", [export.export, embed.embed])
def test_without_milvus_what_fails_keeps_its_row_by_the_last_export(shop: SmallShop, command: Any) -> None:
    shop.redraw(1, 31)
    shop.run(exports=True)
    before = for_others(files(shop))
    shop.stock(ALL_FAIL)

    outcome = made(shop, command)

    assert for_others(files(shop)) == before
    np.testing.assert_array_equal(exported(shop)["P1"], picture_vector("model-1", 31))
    assert any("5 products fail today" in note for note in outcome.notes)


def test_the_row_in_the_collection_says_more_than_the_last_export(shop: SmallShop) -> None:
    shop.redraw(1, 31)
    shop.run(exports=False)
    shop.stock(FIVE | {"P1": (None, "broken")})

    shop.run(exports=True)

    np.testing.assert_array_equal(exported(shop)["P1"], picture_vector("model-1", 31))
    assert shop.verify(exports=True).differing == []


def test_night_after_night_of_failures_changes_nothing(shop: SmallShop) -> None:
    before = for_others(files(shop))
    shop.stock(ALL_FAIL)

    for _ in range(3):
        assert shop.run(exports=True).failure is not None
        assert for_others(files(shop)) == before
        assert shop.verify(exports=True).differing == []


def test_a_refused_export_leaves_every_file_as_it_was(shop: SmallShop) -> None:
    before = files(shop)
    shop.stock({name: FIVE[name] for name in ("P0", "P1", "P2")})

    for command in (run.run, export.export, embed.embed):
        outcome = made(shop, command)
        assert "they would lose 2 of their 5 products (2 not in the catalog)" in str(outcome.failure)
        assert outcome.failure is not None
        assert outcome.failure.exit_code == 10
        assert files(shop) == before

    assert shop.run(exports=True, allow_smaller=True).failure is None
    assert list(exported(shop)) == ["P0", "P1", "P2"]


def test_small_losses_of_many_exports_are_refused_too_and_foreseen(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    ten = {f"P{number}": (number, f"Product {number}") for number in range(10)}
    for count in (10, 9, 8):
        shop.stock(dict(list(ten.items())[:count]))
        assert shop.run(exports=True).failure is None
    manifest = shop.settings.npy.with_name("clip_embeddings.manifest.json")
    assert json.loads(manifest.read_text(encoding="utf-8"))["high_water"] == [10, 9, 8]
    before = files(shop)
    shop.stock(dict(list(ten.items())[:7]))

    plan = shop.plan(exports=True)
    for command in (run.run, export.export, embed.embed):
        failure = str(made(shop, command).failure)
        assert "lose 1 of their 8 products (1 not in the catalog), which leaves 7, fewer than 80% of the 10" in failure
        assert plan.exports_refused in failure
        assert files(shop) == before
    shop.stock(dict(list(ten.items())[:7]) | {"new": (11, "new"), "other": (12, "other")})
    assert shop.plan(exports=True).exports_refused == "", "new products count"

    shop.stock(dict(list(ten.items())[:7]))
    assert shop.run(exports=True, allow_smaller=True).failure is None
    assert "high_water" not in json.loads(manifest.read_text(encoding="utf-8")), "the flag has lowered it"


def test_what_is_dropped_as_failed_leaves_the_files_too(shop: SmallShop) -> None:
    shop.stock(FIVE | {"P1": (None, "broken")})

    shop.run(exports=True, drop_failed=True)

    assert list(exported(shop)) == ["P0", "P2", "P3", "P4"]
    shop.run(exports=True)
    assert list(exported(shop)) == ["P0", "P2", "P3", "P4"], "it does not come back"
    assert shop.verify(exports=True).differing == []


@pytest.mark.parametrize("torn", ['P1,images/7.png,"Mug "XL" blue"', "P1,images/7.png,Mug,blue"])
@pytest.mark.parametrize("is_first", [True, False])
def test_of_a_broken_and_a_good_row_with_one_id_the_first_counts(shop: SmallShop, torn: str, *, is_first: bool) -> None:
    before = exported(shop)
    shop.stock(FIVE | {"P1": (7, "Mug")})
    header, p0, p1, *rest = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    twice = [torn, p1] if is_first else [p1, torn]
    shop.settings.catalog.write_text("\n".join([header, p0, *twice, *rest]) + "\n", encoding="utf-8")

    shop.run(exports=True)

    after = exported(shop)
    assert list(after) == ["P0", "P1", "P2", "P3", "P4"]
    wanted = before["P1"] if is_first else picture_vector("model-1", 7)
    np.testing.assert_array_equal(after["P1"], wanted)
    assert shop.verify(exports=True).differing == []
    shop.run(exports=True, drop_failed=True, accept_changed_catalog=True)  # its lines end in LF now
    assert ("P1" in shop.rows()) is not is_first
    assert shop.verify(exports=True).differing == []


def test_a_sample_has_files_of_its_own(shop: SmallShop) -> None:
    before = files(shop)

    for command in (run.run, export.export):
        assert made(shop, command, sample=2).failure is None
    assert made(shop, run.run, sample=1).failure is None, "smaller than the last sample"

    after = files(shop)
    assert {name: after[name] for name in before} == before
    assert sorted(path.removeprefix("embeddings/") for path in after if path not in before) == [
        "clip_embeddings_sample.images.npz", "clip_embeddings_sample.manifest.json", "clip_embeddings_sample.npy",
        "embedding_metadata_sample.json", "indexes/sample/hnsw_clip_8.faiss",
        "indexes/sample/hnsw_clip_8.manifest.json", "indexes/sample/hnsw_clip_8.pkl",
        "indexes/sample/hnsw_clip_8_product_ids.json",
    ]  # fmt: skip
    assert list(exported(shop, sample=1)) == ["P0"]
    assert shop.verify(exports=True).differing == []


def test_collecting_what_is_unused_keeps_the_vectors_of_what_fails_today(shop: SmallShop) -> None:
    before = for_others(files(shop))
    shop.stock(ALL_FAIL)

    with shop.faked():
        options = garbage.GarbageOptions("0s", max_drop=1)
        garbage.collect_garbage(shop.settings, Progress(), threading.Event(), options, lambda *_: True)

    assert made(shop, export.export).summary.unchanged == 5
    assert for_others(files(shop)) == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_torn_list_of_images_is_written_again(shop: SmallShop, content: bytes) -> None:
    path = images_path(shop.settings.npy)
    before = path.read_bytes()
    path.write_bytes(content)

    shop.run(exports=True)

    assert path.read_bytes() == before


def test_a_list_of_images_of_other_files_says_nothing(shop: SmallShop) -> None:
    path = images_path(shop.settings.npy)
    old = path.read_bytes()
    shop.stock({name: FIVE[name] for name in reversed(FIVE)})
    shop.run(exports=True)
    path.write_bytes(old)
    before = files(shop)
    shop.stock(ALL_FAIL)

    outcome = made(shop, export.export)

    assert "(5 fail today)" in str(outcome.failure), "no row may get the vector of another"
    assert files(shop) == before


def test_exports_from_before_are_right_as_they_are(shop: SmallShop) -> None:
    """Files that an earlier ingest wrote lack the list of images."""
    images_path(shop.settings.npy).unlink()

    assert shop.verify(exports=True).differing == []


def test_an_embedding_of_nothing_is_not_live(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock(ALL_FAIL)

    for command in (embed.embed, export.export):
        outcome = made(shop, command)
        assert outcome.failure is not None
        assert outcome.failure.exit_code == 10


def test_a_sample_under_the_name_of_the_full_files_is_refused(tmp_path: Path) -> None:
    shop = TypedShop(tmp_path)
    assert shop.run_as_typed(command="embed")[0] == 0
    before = files(shop)

    npy, ids = str(shop.settings.npy), str(shop.settings.npy_ids)
    code, out, _ = shop.run_as_typed("--sample", "2", "--output", npy, "--meta", ids, command="embed")

    assert code == 10
    assert "3 not in the sample" in out
    assert files(shop) == before


@pytest.fixture
def refused(tmp_path: Path) -> TypedShop:
    """Return a shop whose last run refused to replace the exports."""
    shop = TypedShop(tmp_path / "refused")
    assert shop.run_as_typed()[0] == 0
    shop.catalog = shop.catalog[:3]
    assert shop.run_as_typed()[0] == 10
    return shop


def test_files_that_a_run_refuses_to_replace_are_proven_by_their_checksums(refused: TypedShop) -> None:
    before = files(refused)

    for arguments in ((), ("--repair",)):
        code, _, err = refused.run_as_typed(*arguments, command="verify")

        assert code == 0, err
        assert "they would lose 2 of their 5 products (2 not in the catalog)" in err
        assert "--allow-smaller" in err
        assert files(refused) == before


def test_a_repair_that_may_not_replace_the_files_says_so_and_leaves_them_usable(refused: TypedShop) -> None:
    path = refused.settings.indexes / "hnsw_clip_8.pkl"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    before = files(refused)

    code, _, err = refused.run_as_typed("--repair", command="verify")

    assert code == 7
    assert "the run: not live: the exported files stay as they were" in err
    assert "write it with: ingest run --allow-smaller" in err
    assert files(refused) == before
    assert len(refused.exported()) == 5, "they can still be searched"
    assert refused.run_as_typed("--allow-smaller")[0] == 0
    assert refused.run_as_typed(command="verify")[0] == 0


def test_damaged_ids_are_no_products_that_leave(shop: SmallShop) -> None:
    before = files(shop)
    path = shop.settings.npy_ids
    path.write_bytes(path.read_bytes().replace(b'"P', b'"Q'))

    found = shop.verify(exports=True)

    assert [fault.kind for fault in found.differing] == ["file"]
    assert not any("--allow-smaller" in note for note in found.notes)
    assert shop.repair(exports=True).differing == []
    assert files(shop) == before
