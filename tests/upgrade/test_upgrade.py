"""Users with data are protected: today's code runs over what an earlier version has left, and rewrites nothing unseen.

Over recordings in `make test`; in `make soak` also over shops that the earlier version fills right then, with Milvus
Lite and with a server.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from pymilvus import MilvusClient
from support.shop import ROOT, environment_of

from ingest.core import digest
from ingest.milvus import writer
from ingest.sync import diff
from upgrade import baseline, changes, nights, recording, stock
from upgrade.command_line import Here
from upgrade.seen import INDEX, LITE, Milvus, everything, rewritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

CONFIGS = ("ingest.toml", "outlet.toml")
EXPORTS = ("clip_embeddings.npy", "embedding_metadata.json")
CLOSE = 1e-4  # cosines: a processor adds up in an order of its own

_soak = [
    pytest.mark.skipif(not os.environ.get("INGEST_SOAK"), reason="takes minutes: INGEST_SOAK=1"),
    pytest.mark.timeout(1800),
]
_CASES = [
    *(pytest.param(path, id=f"recorded by {path.name[:7]}") for path in recording.RECORDINGS),
    pytest.param(None, id=f"filled by {baseline.COMMIT}", marks=_soak),
    pytest.param("milvus_uri", id=f"filled by {baseline.COMMIT} on a server", marks=_soak),
]


class Recording(NamedTuple):
    """A shop as the version at `commit` has left it, packed; its rows are there too if `milvus` is None."""

    commit: str
    archive: Path
    milvus: Milvus | None = None


class Shop(NamedTuple):
    """An unpacked recording: `ingest` is today's command line there, `facts` what the version before said of it."""

    folder: Path
    milvus: Milvus
    ingest: Here
    facts: dict[str, Any]
    changes: list[changes.Change]


class Upgrade(NamedTuple):
    """What an upgrade has done, as `seen` names things, and what plans have shown of it before."""

    rewritten: set[str]
    embedded: int
    upserted: int
    deleted: int
    planned_rows: set[str]
    planned_to_embed: int
    printed: str


@pytest.fixture(scope="module", params=_CASES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    if request.param not in (None, "milvus_uri"):
        return Recording(request.param.name.partition(".")[0], request.param)
    milvus = _new_database(request.getfixturevalue("milvus_uri")) if request.param else None
    folder = tmp_path_factory.mktemp("filled") / "shop"
    folder.mkdir()
    settings = f'uri = "{milvus.uri}"\ndb_name = "{milvus.database}"\n' if milvus else ""
    with baseline.command_line(baseline.COMMIT, request.config.cache.mkdir("baselines"), folder) as ingest:
        nights.fill(folder, ingest, settings)
    recording.pack(folder, folder.parent / "shop.tar.xz")
    return Recording(baseline.COMMIT, folder.parent / "shop.tar.xz", milvus)


@pytest.fixture(autouse=True)
def _no_settings_of_who_runs_the_tests() -> Iterator[None]:
    with mock.patch.dict(os.environ, environment_of({}), clear=True):
        yield


@pytest.fixture
def shop(recorded: Recording, tmp_path: Path) -> Shop:
    return unpacked(recorded, tmp_path / "shop")


def unpacked(recorded: Recording, folder: Path) -> Shop:
    recording.unpack(recorded.archive, folder)
    facts = json.loads((folder / nights.FACTS).read_text(encoding="utf-8"))
    milvus = recorded.milvus or Milvus(str(folder / LITE))
    return Shop(folder, milvus, Here(folder), facts, changes.read(recorded.commit))


def upgraded(shop: Shop) -> Upgrade:
    """Plan and run both catalogs as a user does the night after the upgrade."""
    before = everything(shop.folder, shop.milvus)
    plans = [shop.ingest("plan", "--json", "--config", config).json for config in CONFIGS]
    printed = "".join(shop.ingest("plan", "--config", config).out for config in CONFIGS)
    assert rewritten(before, everything(shop.folder, shop.milvus)) == set(), "a plan changes nothing"
    runs = [shop.ingest("run", "--json", "--config", config).json for config in CONFIGS]
    return Upgrade(
        rewritten(before, everything(shop.folder, shop.milvus)),
        *(sum(run[count] for run in runs) for count in ("embedded", "upserted", "deleted")),
        {f"row {plan['collection']} {row['product_id']}" for plan in plans for row in plan["changes"]
         if row["change"] in ("added", "picture", "metadata", "both")},
        sum(plan["embed"] for plan in plans),
        printed,
    )  # fmt: skip


def test_an_upgrade_rewrites_what_is_declared_and_a_plan_shows_it_before(shop: Shop) -> None:
    done = upgraded(shop)

    assert changes.undeclared(done.rewritten, shop.changes) == []
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert list(changes.untrue(done.rewritten, done.printed, changelog, shop.changes)) == []
    rows = {name for name in done.rewritten if name.startswith("row ")}
    assert done.planned_rows == rows
    assert (done.upserted, done.deleted) == (len(rows), 0)
    assert done.embedded == done.planned_to_embed == sum(change.embeds for change in shop.changes)
    for config in CONFIGS:
        verified = shop.ingest("verify", "--config", config)
        assert verified.code == 0, verified.err


def test_todays_code_answers_as_the_version_before(shop: Shop) -> None:
    of_files = {what: question for what, question in nights.QUESTIONS.items() if "faiss" in question}
    assert answered(shop, of_files) == recorded_answers(shop, of_files)
    if shop.changes:  # verify names what they rewrite, until a run has
        upgraded(shop)
    before = everything(shop.folder, shop.milvus)
    rest = {what: question for what, question in nights.QUESTIONS.items() if what not in of_files}
    assert answered(shop, rest) == recorded_answers(shop, rest)
    assert rewritten(before, everything(shop.folder, shop.milvus)) == set()


def test_a_model_says_the_same_of_texts_and_of_every_image(shop: Shop) -> None:
    assert answered(shop, nights.MODEL_QUESTIONS) == recorded_answers(shop, nights.MODEL_QUESTIONS)

    embeddings = shop.folder / "data" / "embeddings"
    before, ids = (embeddings / name for name in EXPORTS)
    (embeddings / "store").rename(embeddings / "other")
    ended = shop.ingest("embed", "--json", "--output", "again.npy", "--meta", "again.json")
    assert ended.json["embedded"] == len({vector.tobytes() for vector in np.load(before)})
    assert (shop.folder / "again.json").read_bytes() == ids.read_bytes()
    np.testing.assert_allclose(np.load(shop.folder / "again.npy"), np.load(before), rtol=0, atol=CLOSE)


def without_previous(state: dict[str, str]) -> dict[str, str]:
    """Return the state without what a rollback notes: what was served before, and that nothing is being filled."""
    noted = re.compile(r"(?:, )?\('ingest\.(?:previous|served|filling)', '[^']*'\)")
    return {
        name: noted.sub("", content) if name.startswith("properties ") else content
        for name, content in state.items()
        if name != "alias wares_previous"
    }


def test_a_rollback_serves_the_rows_of_the_model_before_and_another_one_goes_back(shop: Shop) -> None:
    before = without_previous(everything(shop.folder, shop.milvus))
    first, second = (shop.facts[plan]["collection"] for plan in ("plan with the first model", "plan"))
    assert before["alias wares"] == second

    there, back = {"serves": first, "served_before": second}, {"serves": second, "served_before": first}
    assert shop.ingest("rollback", "--json").json.items() >= there.items()
    assert without_previous(everything(shop.folder, shop.milvus)) == {**before, "alias wares": first}
    assert shop.ingest("rollback", "--json").json.items() >= back.items()
    assert without_previous(everything(shop.folder, shop.milvus)) == before


def test_exports_written_again_are_the_same(shop: Shop) -> None:
    embeddings, indexes = shop.folder / "data" / "embeddings", shop.folder / "data" / "indexes"
    files = [*(embeddings / name for name in EXPORTS), *indexes.glob("*_product_ids.json")]
    before = [path.read_bytes() for path in files]
    for path in (*embeddings.glob("*.manifest.json"), *indexes.glob("*.manifest.json")):
        path.unlink()

    assert shop.ingest("export").code == 0
    assert [path.read_bytes() for path in files] == before
    of_files = {what: question for what, question in nights.QUESTIONS.items() if "faiss" in question}
    assert answered(shop, of_files) == recorded_answers(shop, of_files)


def test_fetched_images_are_known_by_their_names_when_the_index_is_gone(shop: Shop) -> None:
    (shop.folder / INDEX).unlink()
    plan = shop.ingest("plan", "--json").json
    assert [plan[count] for count in ("added", "embed", "unchanged")] == [0, 0, shop.facts["plan"]["unchanged"]]


@pytest.mark.parametrize("archive", recording.RECORDINGS[-1:], ids=["the newest recording"])
def test_one_byte_more_in_a_digest_is_noticed_and_may_be_declared(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prove that these tests would fail, and how a change that must be is declared."""
    one, many = digest.row_digest, digest.row_digests
    monkeypatch.setattr(diff, "row_digest", lambda *given: one(*given[:2], f"{given[2]} "))
    for module in (diff, writer):
        monkeypatch.setattr(module, "row_digests", lambda *given: many(*given[:2], f"{given[2]} "))
    shop = unpacked(Recording(archive.name.partition(".")[0], archive), tmp_path / "shop")
    plans = [shop.facts[plan] for plan in ("plan", "plan of the outlet")]

    done = upgraded(shop)

    assert done.planned_rows
    assert done.planned_rows >= set(changes.undeclared(done.rewritten, shop.changes))
    assert len(done.planned_rows) == sum(plan["unchanged"] for plan in plans)
    shown = "32 to change (metadata 32)"
    rows = tuple(f"row {plan['collection']} *" for plan in plans)
    declared = changes.Change(("",), "## 0.1.0", shown, rows)
    assert changes.undeclared(done.rewritten, [*shop.changes, declared]) == []
    assert list(changes.untrue(done.rewritten, done.printed, "## 0.1.0", [declared])) == []


def test_what_is_declared_must_be_so(tmp_path: Path) -> None:
    table = tmp_path / "changes.toml"
    table.write_text(
        '[[change]]\nof = ["1234567"]\nchangelog = "Rows"\nplan = "2 to change"\nrewrites = ["row a *", "alias a"]\n',
        encoding="utf-8",
    )
    declared = changes.read("1234567", table)
    assert changes.read("another", table) == []
    assert changes.undeclared({"row a 1", "row b 1", "index layout"}, declared) == ["index layout", "row b 1"]
    assert list(changes.untrue({"row a 1"}, "1 to change", "Files", declared)) == [
        "rewrites alias a", "ingest plan prints 2 to change", "CHANGELOG.md has Rows",
    ]  # fmt: skip


def test_the_shop_has_what_upgrades_may_break(shop: Shop) -> None:
    plan = shop.facts["plan"]
    things = everything(shop.folder, shop.milvus)
    assert len(plan["reasons"]) >= 10
    assert (plan["stale"], plan["gone"]) >= (1, 1)
    assert len({name for name in things if name.startswith("schema ")}) == 3, "two models, and the shipped contract"
    assert {stock.FIRST, stock.SECOND} <= {name.removeprefix("file ").rpartition("/")[0] for name in things}


def answered(shop: Shop, questions: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {what: nights.lasting(answer) for what, answer in nights.answers(shop.ingest, questions).items()}


def recorded_answers(shop: Shop, questions: Iterable[str]) -> dict[str, Any]:
    """Return what was answered before the upgrade, with room for how scores are rounded."""
    return {what: _with_room(nights.lasting(shop.facts[what])) for what in questions}


def _with_room(answer: Any) -> Any:
    if isinstance(answer, dict):
        return answer
    return [{**hit, "score": pytest.approx(hit["score"], abs=CLOSE)} for hit in answer]


def _new_database(uri: str) -> Milvus:
    name = f"upgrade_{uuid.uuid4().hex[:12]}"
    with closing(MilvusClient(uri)) as client:
        client.create_database(name)
    return Milvus(uri, name)
