"""Whatever is done to the catalog, in whatever order, the collection is what a model of ten lines says."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.small_shop import SmallShop, picture_vector

from ingest.milvus import versions, writer
from ingest.milvus.collection import Collection
from ingest.store.local import LocalStore

STEPS, EXAMPLES, LEAST = 60, 17, 500
EDITS = 4  # steps that edit the catalog before one that runs, which takes a hundred times longer
IDS = st.sampled_from([f"P{number}" for number in range(8)] + ['quo"te', "日本"])
PICTURES = st.integers(0, 9)
TITLES = st.sampled_from(["red", "blue", "green"])
MODELS = st.sampled_from(["model-1", "model-2"])


class Killed(BaseException):
    """Stands for SIGKILL between two stages: nothing of ours catches it."""


class Machine(RuleBasedStateMachine):
    """`catalog` is what is on sale, `served` and `before` what the alias serves and served: id → (picture, title)."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.shop = SmallShop(self.folder, max_prune=1.0, allow_smaller=True)
        self.catalog: dict[str, tuple[int | None, str]] = {}
        self.collections: dict[str, dict[str, tuple[int, str]]] = {}
        self.order: list[str] = []
        self.model = "model-1"
        self.edits = 0

    @invariant()
    def count(self) -> None:
        """Hypothesis asks for this after every step."""
        Machine.steps += 1
        self.edits += 1

    @initialize(picture=PICTURES)
    def start(self, picture: int) -> None:
        self.catalog["P0"] = (picture, "red")
        self.run(prune=False)

    @rule(product_id=IDS, picture=PICTURES, title=TITLES)
    def add_or_change(self, product_id: str, picture: int, title: str) -> None:
        self.catalog[product_id] = (picture, title)

    @rule(product_id=IDS, title=TITLES)
    def change_metadata(self, product_id: str, title: str) -> None:
        if product_id in self.catalog:
            self.catalog[product_id] = (self.catalog[product_id][0], title)

    @rule(one=IDS, other=IDS)
    def share_a_picture(self, one: str, other: str) -> None:
        if one in self.catalog and other in self.catalog:
            self.catalog[one] = (self.catalog[other][0], self.catalog[one][1])

    @rule(one=IDS, other=IDS)
    def rename(self, one: str, other: str) -> None:
        if one in self.catalog and other not in self.catalog:
            self.catalog[other] = self.catalog.pop(one)

    @rule(product_id=IDS)
    def break_its_picture(self, product_id: str) -> None:
        if product_id in self.catalog and len(self.good()) > 1:
            self.catalog[product_id] = (None, self.catalog[product_id][1])

    @rule(product_id=IDS)
    def remove(self, product_id: str) -> None:
        if product_id in self.catalog and len(self.good().keys() - {product_id}) > 0:
            del self.catalog[product_id]

    @rule(model=MODELS)
    def choose_a_model(self, model: str) -> None:
        self.model = model

    @precondition(lambda self: self.edits >= EDITS)
    @rule(prune=st.booleans())
    def run(self, prune: bool) -> None:
        self.shop.stock(self.catalog)
        self.shop.run(model=self.model, prune=prune)
        self.settle(prune)

    @precondition(lambda self: self.edits >= EDITS)
    @rule(where=st.sampled_from(["store", "upsert", "delete", "flush", "serve"]), prune=st.booleans())
    def run_and_be_killed_then_run(self, where: str, prune: bool) -> None:
        owner, name = {
            "store": (LocalStore, "add"), "upsert": (writer, "_send"), "delete": (Collection, "delete"),
            "flush": (Collection, "flush"), "serve": (Collection, "switch_alias"),
        }[where]  # fmt: skip
        self.shop.stock(self.catalog)
        with mock.patch.object(owner, name, side_effect=Killed), suppress(Killed):
            self.shop.run(model=self.model, prune=prune)
        self.shop.run(model=self.model, prune=prune)
        self.settle(prune)

    @precondition(lambda self: len(self.order) > 1 and self.edits >= EDITS)
    @rule()
    def roll_back(self) -> None:
        with self.shop.connection() as connection:
            versions.rollback(connection, "products", allow_smaller=True)
        self.order[-2:] = [self.order[-1], self.order[-2]]
        self.check()

    def check(self) -> None:
        self.edits = 0
        rows, served = self.shop.rows(), self.order[-1]
        assert {product_id: row["title"] for product_id, row in rows.items()} == {
            product_id: title for product_id, (_, title) in self.collections[served].items()
        }
        for product_id, (picture, _) in self.collections[served].items():
            assert rows[product_id]["embedding"] == pytest.approx(picture_vector(served, picture)), product_id

    def good(self) -> dict[str, tuple[int, str]]:
        return {name: (picture, title) for name, (picture, title) in self.catalog.items() if picture is not None}

    def settle(self, prune: bool) -> None:
        there = self.collections.setdefault(self.model, {})
        if prune:
            for product_id in there.keys() - self.catalog.keys():
                del there[product_id]
        there |= self.good()
        if self.model in self.order:
            self.order.remove(self.model)
        self.order.append(self.model)
        self.check()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # to shrink a failure takes longer than a test may, and then the failure itself is lost
)  # fmt: skip


class TestTheCollection(Machine.TestCase):
    def tearDown(self) -> None:
        super().tearDown()
        assert Machine.steps >= LEAST, "hypothesis ended its sequences early: raise EXAMPLES"
