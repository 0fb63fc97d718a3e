"""A new ef goes into a contract's file, and not another byte of it changes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import contract as contracts
from ingest import tuning
from ingest.errors import ContractError

SHIPPED = Path(__file__).parents[2] / "schema" / "products.toml"

numbers = st.integers(1, 32_768)
written = st.one_of(
    numbers.map(str),
    numbers.map(hex),
    numbers.map(oct),
    numbers.map(lambda n: f"{n:_}"),
    numbers.map(lambda n: f"+{n}"),
)
comments = st.sampled_from(["", "  # ef = 12", " # efConstruction and ef", "\t#ef=3"])
ends = st.sampled_from(["\n", "\r\n"])
spaces = st.sampled_from(["", " ", "  ", "\t"])
tables = st.sampled_from(["[embedding]", "[ embedding ]", '["embedding"]'])
keys = st.sampled_from(["ef", '"ef"', "'ef'"])
texts = st.sampled_from(["", "ef = 64", "\\nef = 1", "[embedding]"])
orders = st.permutations(["M = 16", "efConstruction = 200", "EF"])


@st.composite
def contract_files(draw) -> bytes:
    line = f"{draw(spaces)}{draw(keys)}{draw(spaces)}={draw(spaces)}{draw(written)}{draw(comments)}"
    head = ["version = 1", f"# {draw(texts)}", 'alias = "products"', draw(comments).strip()]
    field = ["[[fields]]", 'name = "ef"', 'type = "VARCHAR"', "max_length = 64", f'default = "{draw(texts)}"',
             "[[fields]]", 'name = "price"', 'type = "DOUBLE"', "default = nan"]  # fmt: skip
    index = [draw(tables), *(line if entry == "EF" else entry for entry in draw(orders))]
    parts = [["[product_id]", "max_length = 128"], index, field]
    lines = head + [entry for part in draw(st.permutations(parts)) for entry in part]
    return draw(ends).join([*lines, ""]).encode()


def shared(one: bytes, other: bytes) -> int:
    """Return how many bytes two files begin with alike."""
    differing = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


@given(contract_files(), numbers)
def test_nothing_but_the_number_changes(tmp_path_factory, content, ef):
    path = tmp_path_factory.mktemp("contract") / "products.toml"
    path.write_bytes(content)
    before = contracts.load(path)

    tuning.set_ef(path, ef)

    after = path.read_bytes()
    assert contracts.load(path).index.ef == ef
    if ef == before.index.ef:
        assert after == content
        return
    start = shared(content, after)
    end = shared(content[start:][::-1], after[start:][::-1])
    changed = content[start : len(content) - end], after[start : len(after) - end]
    assert all(re.fullmatch(rb"[+0-9A-Za-z_]*", part) for part in changed)
    assert repr(contracts.load(path)) == repr(before).replace(f" ef={before.index.ef})", f" ef={ef})")


def test_the_shipped_contract_keeps_its_comments(tmp_path):
    path = Path(shutil.copy(SHIPPED, tmp_path))
    tuning.set_ef(path, 96)
    assert path.read_text(encoding="utf-8") == SHIPPED.read_text(encoding="utf-8").replace("ef = 64 ", "ef = 96 ")


@pytest.mark.parametrize("index", ["embedding = { M = 16, efConstruction = 200, ef = 64 }",
                                   "embedding.M = 16\nembedding.efConstruction = 200\nembedding.ef = 64"])  # fmt: skip
def test_other_ways_to_write_a_table_do_as_well(tmp_path, index):
    path = tmp_path / "products.toml"
    content = f'version = 1\nalias = "products"\nproduct_id = {{ max_length = 128 }}\n{index}\n'
    path.write_text(content, encoding="utf-8")
    tuning.set_ef(path, 128)
    assert path.read_text(encoding="utf-8") == content.replace("ef = 64", "ef = 128")


def test_the_copy_inside_the_package_is_not_touched(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "_PACKAGE", tmp_path)
    path = Path(shutil.copy(SHIPPED, tmp_path))
    with pytest.raises(ContractError, match="--schema"):
        tuning.set_ef(path, 96)
    assert path.read_bytes() == SHIPPED.read_bytes()


def test_a_contract_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ContractError, match="cannot be read"):
        tuning.set_ef(tmp_path / "none.toml", 96)
