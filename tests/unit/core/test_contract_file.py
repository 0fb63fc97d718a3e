"""The contract's file: what is accepted, and what is refused in which words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contracts import GOOD, loaded

from ingest.core import contract_file
from ingest.core.contract_file import load
from ingest.core.errors import ContractError
from ingest.core.field import Field


def test_the_shipped_contract_loads():
    contract = load(contract_file.default_path())
    assert contract.alias == "products"
    assert contract.id_max_length == 128
    assert [field.name for field in contract.fields] == [
        "title",
        "category",
        "colour",
        "price",
        "brand",
        "image",
    ]
    assert contract.index.m == 16


def test_a_good_contract_is_what_its_file_says(tmp_path):
    contract = loaded(tmp_path)
    assert contract.keeps_others
    title, price = contract.fields
    assert title == Field("title", "VARCHAR", "title", 64, "")
    assert (price.type, price.column, price.max_length) == ("DOUBLE", "price", 0)
    assert math.isnan(price.default)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 1", "version = 2", "version is 2"),
        ("version = 1", "", "version is None"),
        ("version = 1", "version = 1\ncolour = 3", "colour is not a key"),
        ("version = 1", 'version = 1\n"two\\nlines" = 3', "two lines is not a key"),
        ('alias = "products"', 'alias = "our products"', "alias is 'our products'"),
        ('alias = "products"', f'alias = "{"a" * 250}"', "alias is 250 characters"),
        ('others = "dynamic"', 'others = "maybe"', "others is 'maybe'"),
        ("max_length = 128", "max_length = 0", "product_id.max_length is 0"),
        ("max_length = 128", "max_length = 128\nsize = 1", "product_id.size is not a key"),
        ("max_length = 128", "max_length = true", "product_id.max_length is True"),
        ("[product_id]\nmax_length = 128", "product_id = 3", "product_id must be a table"),
        ('metric = "IP"', 'metric = "L2"', "embedding.metric is 'L2'"),
        ('index = "HNSW"', 'index = "IVF_FLAT"', "embedding.index is 'IVF_FLAT'"),
        ('field = "embedding"', 'field = "1st"', "embedding.field is '1st'"),
        ("M = 16", "M = 1", "embedding.M is 1"),
        ("M = 16", "M = 16\nnlist = 3", "embedding.nlist is not a key"),
        ("efConstruction = 200", "efConstruction = 0", "embedding.efConstruction is 0"),
        ("ef = 64", "ef = 1.5", "embedding.ef is 1.5"),
        ('name = "title"', "", "fields[1].name is None"),
        ('name = "title"', 'name = "price"', "fields: price is listed twice"),
        ('name = "title"', 'name = "row_digest"', "fields: row_digest is listed twice, or"),
        ('name = "title"', 'name = "title"\nlength = 3', "fields[1].length is not a key"),
        ('name = "title"', 'name = "title"\ncolumn = 3', "fields[1].column of title"),
        ('type = "VARCHAR"', 'type = "STRING"', "fields[1].type of title is 'STRING'"),
        ("max_length = 64", "", "fields[1].max_length is None"),
        ("max_length = 64", "max_length = 65536", "fields[1].max_length is 65536"),
        ('default = ""', f'default = "{"ü" * 33}"', "fields[1].default of title"),
        ('default = ""', "default = 3", "fields[1].default of title is '3', which is not VARCHAR"),
        ("default = nan", "default = inf", "fields[2].default of price"),
        ("default = nan", "default = true", "fields[2].default of price"),
        ("default = nan", f"default = 1{'0' * 400}", "fields[2].default of price"),
        ('"DOUBLE"\ndefault = nan', '"FLOAT"\ndefault = 1e39', "which is not FLOAT"),
        ('"DOUBLE"\ndefault = nan', '"INT64"\ndefault = 1.0', "which is not INT64"),
        ('"DOUBLE"\ndefault = nan', '"INT64"\ndefault = 9223372036854775808', "which is not INT64"),
        ('"DOUBLE"\ndefault = nan', '"BOOL"\ndefault = 1', "which is not BOOL"),
        ("version = 1", "version = ", "not valid TOML"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file_and_the_key(tmp_path, old, new, words):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(ContractError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'products.toml'}: ")
    assert words in message
    assert len(message.splitlines()) == 1
    assert len(message) - len(str(tmp_path)) < 200


@pytest.mark.parametrize("fields", ["fields = 3", 'fields = "title"', "[fields]\nname = 3"])
def test_fields_that_are_no_list_of_tables_are_refused(tmp_path, fields):
    head, rest = GOOD.split("[product_id]")
    rest = rest.split("[[fields]]")[0]
    with pytest.raises(ContractError, match=r"\[\[fields\]\]"):
        loaded(
            tmp_path,
            f"{head}\n[product_id]{rest}\n{fields}" if "[" in fields else f"{head}{fields}\n[product_id]{rest}",
        )


def test_a_file_that_cannot_be_read_says_how_to_name_another(tmp_path):
    with pytest.raises(ContractError, match="--schema FILE"):
        load(tmp_path / "none.toml")
    with pytest.raises(ContractError, match="--schema FILE"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'alias = "caf\xe9"')
    with pytest.raises(ContractError, match="not valid TOML"):
        load(tmp_path / "latin.toml")


@given(st.text(max_size=60))
def test_any_text_is_a_contract_or_a_contract_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "products.toml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ContractError):
        load(path)


def test_a_default_of_a_double_is_a_float(tmp_path):
    _, price = loaded(tmp_path, GOOD.replace("default = nan", "default = 5")).fields
    assert price.default == 5.0
    assert type(price.default) is float


def test_a_layout_that_cannot_be_is_named_with_file_and_line(tmp_path):
    with pytest.raises(ContractError, match=r"products.toml line \d+: collection.partition_key is price, a DOUBLE"):
        loaded(tmp_path, f'{GOOD}\n[collection]\npartition_key = "price"')
