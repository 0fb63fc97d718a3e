"""Products of one item: each answer names one of them, wherever it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.shop import write_csv
from support.small_shop import SmallShop, picture_vector

from ingest.core import contract_file
from ingest.core.errors import ContractError, ExportError
from ingest.search import recommend
from ingest.search.faiss_backend import ExportedIndex
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.recommend import RecommendOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Two items of twenty variants each, then products that are no variants.
ITEMS = {f"V{number:02d}": ("mug" if number % 2 else "cup") for number in range(40)} | {f"S{n}": "" for n in range(6)}
FIELD = '\n[[fields]]\nname = "item_group_id"\ntype = "VARCHAR"\nmax_length = 64\ndefault = ""\n'


def grouped(folder: Path) -> Path:
    text = contract_file.default_path().read_text(encoding="utf-8")
    path = folder / "grouped.toml"
    path.write_text(text.replace('alias = "products"', 'alias = "products"\ngroup = "item_group_id"') + FIELD, "utf-8")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    shop = SmallShop(tmp_path_factory.mktemp("groups"))
    shop.stock({name: (number, "") for number, name in enumerate(ITEMS)})
    shop.settings = replace(shop.settings, schema=grouped(shop.folder), parquet=True)
    rows = [
        {"product_id": name, "image": f"images/{number}.png", "item_group_id": item}
        for number, (name, item) in enumerate(ITEMS.items())
    ]
    write_csv(shop.settings.catalog, rows)
    shop.run(exports=True)
    return shop


@pytest.fixture(scope="module")
def served(shop: SmallShop) -> Iterator[SearchableCollection]:
    with shop.connection() as connection:
        yield SearchableCollection(connection, "products")


def best_of_each(picture: int, without: set[str] = frozenset()) -> list[str]:
    """Return the best product of each item, best first."""
    query, best = picture_vector("model-1", picture), {}
    scores = {name: float(query @ picture_vector("model-1", number)) for number, name in enumerate(ITEMS)}
    for name in sorted(scores, key=lambda one: -scores[one]):
        if (ITEMS[name] or name) not in without:
            best.setdefault(ITEMS[name] or name, name)
    return list(best.values())


@pytest.mark.parametrize("limit", [1, 3, 8, 20])
def test_an_answer_names_an_item_once_and_is_as_long_as_there_are_items(
    shop: SmallShop, served: SearchableCollection, limit: int
) -> None:
    queries = [picture_vector("model-1", number) for number in range(4)]
    expected = [best_of_each(number)[:limit] for number in range(4)]
    for backend in (served, ExportedIndex(shop.settings, 64, "item_group_id")):
        answers = backend.searches(queries, limit)
        assert [[hit.product_id for hit in hits] for hits in answers] == expected


def test_what_is_like_a_product_is_no_variant_of_it(shop: SmallShop, served: SearchableCollection) -> None:
    expected = best_of_each(0, {"cup"})
    assert [hit.product_id for hit in recommend.like(served, ["V00"], RecommendOptions(limit=10))] == expected
    [hits] = ExportedIndex(shop.settings, 64, "item_group_id").searches(
        [picture_vector("model-1", 0)], 10, without=["V00"]
    )
    assert [hit.product_id for hit in hits] == expected


def test_a_filter_is_kept_in_every_round(served: SearchableCollection) -> None:
    [hits] = served.searches([picture_vector("model-1", 1)], 10, 'item_group_id != "mug"')
    assert [hit.product_id for hit in hits] == best_of_each(1, {"mug"})


def test_the_files_alone_do_not_know_the_items(shop: SmallShop, tmp_path: Path) -> None:
    index = ExportedIndex(shop.settings, 64, "item_group_id")
    index._parquet = tmp_path / "none.parquet"
    with pytest.raises(ExportError, match="ingest export --parquet"):
        index.searches([picture_vector("model-1", 1)], 3)
    assert len(ExportedIndex(shop.settings, 64).searches([picture_vector("model-1", 1)], 40)[0]) == 40


def test_a_group_must_be_a_text_field_and_changes_no_name_of_a_collection(shop: SmallShop, tmp_path: Path) -> None:
    from ingest.core.contract import Space, collection_name

    text = shop.settings.schema.read_text(encoding="utf-8")
    (tmp_path / "plain.toml").write_text(text.replace('group = "item_group_id"', ""), encoding="utf-8")
    space = Space("m", "sha256:1", 8, {})
    one, other = contract_file.load(shop.settings.schema), contract_file.load(tmp_path / "plain.toml")
    assert collection_name(one, space) == collection_name(other, space)
    (tmp_path / "price.toml").write_text(text.replace('group = "item_group_id"', 'group = "price"'), encoding="utf-8")
    with pytest.raises(ContractError, match=r"group is 'price'; it must be a VARCHAR field"):
        contract_file.load(tmp_path / "price.toml")
