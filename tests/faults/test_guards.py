"""However a catalog is wrong, and whatever is run over it, apps go on to find at least 80 % of what they found."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.shop import ROOT, write_csv
from support.small_shop import SmallShop

from ingest.core.errors import CatalogError, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.tasks.plan import Plan

PRODUCTS, PICTURES = 60, 12
Rows = list[dict[str, str]]


@dataclass(slots=True)
class Night:
    """What is in the catalog's folder, and the flags that go with it."""

    rows: Rows
    flags: dict[str, Any] = field(default_factory=dict)
    parts: list[Rows] = field(default_factory=list)
    text: str | None = None


def rows() -> Rows:
    return [
        {"product_id": f"P{number:03}", "image": f"images/{number % PICTURES}.png", "title": f"Title of {number}",
         "sku": f"{number * 7919 % 1000:03}", "material": "steel", "care": "wash" if number < 2 else ""}
        for number in range(PRODUCTS)
    ]  # fmt: skip


def share(found: Rows, kept: float) -> Rows:
    return found[: int(len(found) * kept)]


def other_ids(found: Rows) -> Rows:
    return [row | {"product_id": f"X{row['product_id']}"} for row in found]


def with_broken_images(found: Rows) -> Rows:
    return [row | {"image": "images/missing.png"} for row in found]


def cut_to(kept: float) -> Callable[[Rows], Night]:
    return lambda found: Night(share(found, kept))


# What is wrong with the catalog, night after night.
CATALOGS: dict[str, list[Callable[[Rows], Night]]] = {
    "cut to a tenth": [lambda found: Night(share(found, 0.1))],
    "cut by a fifth, and a row": [lambda found: Night(share(found, 0.78))],
    "cut a little every night": [cut_to(0.81**night) for night in range(1, 6)],
    "cut, and as many new": [lambda found: Night(share(found, 0.5) + other_ids(found)[30:])],
    "emptied": [lambda _found: Night([], text="")],
    "a header only": [lambda _found: Night([], text="product_id,image,title,sku,material,care\n")],
    "its id column renamed": [
        lambda found: Night([{"number": row["product_id"], **dict(list(row.items())[1:])} for row in found])
    ],
    "another column of ids": [lambda found: Night(found, {"id_column": "sku"})],
    "a column of few values for ids": [lambda found: Night(found, {"id_column": "image"})],
    "every id with a prefix": [lambda found: Night(other_ids(found))],
    "half of its parts": [lambda found: Night([], parts=[share(found, 0.5)])],
    "a required field emptied": [lambda found: Night([row | {"material": ""} for row in found])],
    "nearly all ids the same": [lambda found: Night([row | {"product_id": "P000"} for row in found[:-1]] + found[-1:])],
    "its images all gone": [lambda found: Night(with_broken_images(found))],
    "most of its images gone": [lambda found: Night(with_broken_images(found[5:]) + found[:5])],
    "too long ids": [lambda found: Night([row | {"product_id": row["product_id"] * 60} for row in found])],
    "titles that became long": [lambda found: Night([row | {"title": "x" * 900} for row in found])],
}


OTHER_IDS = {"another column of ids", "a column of few values for ids", "every id with a prefix"}
REQUIRED = '\n[[fields]]\nname = "{}"\ntype = "VARCHAR"\nmax_length = 64\n'


def contract(folder: Path, old: str = "", new: str = "", required: tuple[str, ...] = ("material",)) -> Path:
    """Write the shipped contract with more required fields and a change; return its path."""
    text = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new) if old else text
    path = folder / f"contract-{len(list(folder.glob('contract-*')))}.toml"
    path.write_text(text + "".join(map(REQUIRED.format, required)), encoding="utf-8")
    return path


# What is run over it: the settings of a shop.
ACTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "run": lambda _folder: {},
    "prune": lambda _folder: {"prune": True},
    "drop failed": lambda _folder: {"prune": True, "drop_failed": True},
    "another index": lambda folder: {"schema": contract(folder, "M = 16 ", "M = 8 "), "max_skipped": "5%"},
    "another index, prune": lambda folder: {
        "schema": contract(folder, "M = 16 ", "M = 8 "), "prune": True, "drop_failed": True
    },
    "a new required field": lambda folder: {"schema": contract(folder, required=("material", "care"))},
    "shorter titles": lambda folder: {"schema": contract(folder, "max_length = 1024", "max_length = 11")},
    "another model": lambda _folder: {"model": "model-2"},
    "another model, prune": lambda _folder: {"model": "model-2", "prune": True, "drop_failed": True},
}  # fmt: skip


class GuardedShop(SmallShop):
    def put(self, night: Night) -> dict[str, Any]:
        """Write a night's catalog; return the settings that it is read with."""
        if night.parts:
            folder = self.folder / "parts"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for number, part in enumerate(night.parts):
                write_csv(folder / f"{number}.csv", part)
            return night.flags | {"catalog": folder, "images_root": self.folder}
        if night.text is None:
            write_csv(self.settings.catalog, night.rows)
        else:
            self.settings.catalog.write_text(night.text, encoding="utf-8")
        return night.flags

    def ids(self) -> set[str]:
        return set(self.rows())

    def planned(self, **settings: Any) -> Plan | None:
        """Return the plan, None if the catalog cannot be read."""
        try:
            return self.plan(**settings)
        except CatalogError:
            return None

    def ran(self, **settings: Any) -> IngestError | None:
        """Run, and return why it failed."""
        try:
            return self.run(**settings).failure
        except IngestError as error:
            return error


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a shop after a good night. Not to be written to."""
    shop = GuardedShop(tmp_path_factory.mktemp("good"))
    shop.stock({f"P{picture}": (picture, "") for picture in range(PICTURES)})
    shop.put(Night(rows()))
    assert shop.ran(schema=contract(shop.folder)) is None
    assert len(shop.ids()) == PRODUCTS
    return shop.folder


@pytest.fixture
def shop(good: Path, tmp_path: Path) -> GuardedShop:
    folder = tmp_path / "shop"
    shutil.copytree(good, folder)
    return GuardedShop(folder, schema=folder / "contract-0.toml")


def assert_said_beforehand(plan: Plan | None, failure: IngestError | None, report: dict[str, Any]) -> None:
    """What the run did, and why it did not do the rest, is what the plan said."""
    code, message = (failure.exit_code, str(failure)) if failure else (0, "")
    if plan is None:
        assert code == 3
        return
    unusable = plan.skipped == plan.products
    assert (code == 10) == bool(plan.unwritten or plan.unserved or unusable), message
    assert plan.unwritten in message
    if not plan.unwritten:
        assert plan.unserved in message
        assert (code == 3) == bool(plan.refused and not (plan.unserved or unusable))
        assert plan.refused in message or code == 10
        assert (report["deleted"], report["carried"]) == (plan.remove, plan.carried)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("wrong", CATALOGS)
def test_apps_go_on_to_find_four_fifths_and_the_plan_has_said_so(shop: GuardedShop, wrong: str, action: str) -> None:
    settings = ACTIONS[action](shop.folder)
    before = shop.ids()
    for night in CATALOGS[wrong]:
        changes = settings | shop.put(night(rows()))
        plan = shop.planned(**changes)
        failure = shop.ran(**changes)

        found = shop.ids()
        assert 5 * len(found & before) >= 4 * len(before), f"{len(found & before)} of {len(before)}"
        if wrong in OTHER_IDS:
            assert found <= before, "nothing goes live under wrong ids"
            assert failure is not None
            assert failure.exit_code == 10
        assert_said_beforehand(plan, failure, shop.report())
