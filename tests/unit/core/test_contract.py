"""The contract with the apps: what is accepted, what is refused, and what its digests hang on."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import contract as contracts
from ingest.core.contract import Contract, Field, Space, collection_name, load, row_digest, row_digests, to_json
from ingest.core.errors import ContractError
from ingest.core.records import Product

SPACE = Space("openai/clip-vit-base-patch32", "3d74acf9", 512, {"size": 224, "mean": [0.48, 0.46, 0.41]})
PICTURE = bytes(range(32))

GOOD = """
version = 1
alias = "products"
others = "dynamic"
[product_id]
max_length = 128
[embedding]
field = "embedding"
metric = "IP"
index = "HNSW"
M = 16
efConstruction = 200
ef = 64
[[fields]]
name = "title"
type = "VARCHAR"
max_length = 64
default = ""
[[fields]]
name = "price"
type = "DOUBLE"
default = nan
"""


def loaded(folder, text: str = GOOD) -> Contract:
    path = folder / "products.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def product(**metadata) -> Product:
    return Product("a", "a.jpg", metadata, 2)


def test_the_shipped_contract_loads():
    contract = load(contracts.default_path())
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


def test_names_of_ingest_and_of_milvus_are_taken(tmp_path):
    own = {"product_id", "row_digest", "image_sha256", "embedding", "$meta"}
    assert loaded(tmp_path).taken_names == own | {"title", "price"}


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


def test_a_row_digest_changes_with_the_picture_the_space_and_the_metadata():
    before = row_digest(product(price=1.5), PICTURE, SPACE.fingerprint)
    assert len(before) == 32
    assert before == row_digest(product(price=1.5), PICTURE, SPACE.fingerprint)
    others = {
        row_digest(product(price=1.5), bytes(32), SPACE.fingerprint),
        row_digest(product(price=1.5), PICTURE, "0" * 16),
        row_digest(product(price=1.75), PICTURE, SPACE.fingerprint),
        row_digest(product(price="1.5"), PICTURE, SPACE.fingerprint),
        row_digest(product(cost=1.5), PICTURE, SPACE.fingerprint),
        row_digest(product(), PICTURE, SPACE.fingerprint),
    }
    assert len(others) == 6
    assert before not in others


def test_a_price_that_is_not_known_has_a_digest_that_stays():
    assert row_digest(product(price=math.nan), PICTURE, "f") == row_digest(product(price=float("nan")), PICTURE, "f")


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.floats(), st.booleans()), max_size=6)
)
def test_a_row_digest_does_not_hang_on_the_order_of_columns(metadata):
    backwards = dict(reversed(metadata.items()))
    forth = Product("a", "a.jpg", metadata, 2)
    back = Product("b", "b.jpg", backwards, 9)
    assert row_digest(forth, PICTURE, "f") == row_digest(back, PICTURE, "f")


@given(st.lists(st.builds(product, title=st.text(), price=st.floats()), max_size=4))
def test_digests_taken_at_once_are_what_each_is_alone(products):
    digests = row_digests([each.metadata for each in products], [PICTURE] * len(products), "f")
    assert [digest.hex() for digest in digests] == [row_digest(each, PICTURE, "f") for each in products]


def test_a_row_digest_stays_what_it_is_in_collections_that_are_there():
    row = product(title="Mug\ud800 é", price=math.nan, stock=3, new=True, brand="")
    assert row_digest(row, PICTURE, SPACE.fingerprint) == "5c2e3113b5e4ae3e6cc2d1fb896c4a35"


def test_a_fingerprint_covers_model_revision_dim_and_preprocessing():
    spaces = [
        SPACE,
        replace(SPACE, model="openai/clip-vit-large-patch14"),
        replace(SPACE, revision="other"),
        replace(SPACE, dim=768),
        replace(SPACE, preprocessing={"size": 336}),
    ]
    assert len({space.fingerprint for space in spaces}) == len(spaces)
    assert all(len(space.fingerprint) == 16 for space in spaces)


def test_a_fingerprint_does_not_hang_on_the_order_of_keys():
    backwards = dict(reversed(SPACE.preprocessing.items()))
    assert replace(SPACE, preprocessing=backwards).fingerprint == SPACE.fingerprint


def test_a_local_checkpoint_is_known_by_its_content_and_not_by_its_folder():
    here = Space("checkpoint", "sha256:abc", 512, {})
    assert replace(here, model="moved").fingerprint == here.fingerprint
    assert replace(here, revision="sha256:abd").fingerprint != here.fingerprint


def test_a_collection_is_named_after_its_schema_and_its_space(tmp_path):
    contract = loaded(tmp_path)
    name = collection_name(contract, SPACE)
    assert name.startswith("products_")
    assert len(name) == len("products_") + 12
    others = [
        collection_name(contract, replace(SPACE, dim=768)),
        collection_name(replace(contract, fields=contract.fields[:1]), SPACE),
        collection_name(replace(contract, index=replace(contract.index, m=32)), SPACE),
        collection_name(replace(contract, index=replace(contract.index, ef_construction=300)), SPACE),
        collection_name(replace(contract, keeps_others=False), SPACE),
    ]
    assert len({name, *others}) == 6


def test_ef_is_for_searching_and_builds_no_new_collection(tmp_path):
    contract = loaded(tmp_path)
    faster = replace(contract, index=replace(contract.index, ef=16))
    assert collection_name(faster, SPACE) == collection_name(contract, SPACE)


def test_the_longest_alias_makes_a_name_that_milvus_takes(tmp_path):
    contract = loaded(tmp_path, GOOD.replace('"products"', f'"{"a" * 242}"', 1))
    assert len(collection_name(contract, SPACE)) == 255


def test_the_json_of_a_collection_says_what_an_app_must_match(tmp_path):
    content = json.loads(to_json(loaded(tmp_path), SPACE), parse_constant=pytest.fail)
    assert content["fingerprint"] == SPACE.fingerprint
    assert (content["model"], content["dim"], content["normalised"]) == (SPACE.model, 512, True)
    assert content["index"] == {"type": "HNSW", "M": 16, "efConstruction": 200}
    assert content["fields"] == {"title": "VARCHAR", "price": "DOUBLE"}
    assert content["preprocessing"] == SPACE.preprocessing


def test_the_layout_names_the_collection_where_it_cannot_be_changed_later(tmp_path):
    bare = loaded(tmp_path)
    assert collection_name(bare, SPACE) == collection_name(loaded(tmp_path, f"{GOOD}\n[collection]"), SPACE)
    names = {
        collection_name(loaded(tmp_path, f"{GOOD}\n[collection]\n{line}"), SPACE)
        for line in ("shards = 2", "shards = 3", 'partition_key = "title"')
    }
    assert len(names | {collection_name(bare, SPACE)}) == 4
    more = loaded(tmp_path, f"{GOOD}\n[collection]\nreplicas = 3")
    assert more.layout.replicas == 3
    assert collection_name(more, SPACE) == collection_name(bare, SPACE)


def test_a_layout_that_cannot_be_is_named_with_file_and_line(tmp_path):
    with pytest.raises(ContractError, match=r"products.toml line \d+: collection.partition_key is price, a DOUBLE"):
        loaded(tmp_path, f'{GOOD}\n[collection]\npartition_key = "price"')


def test_apps_are_told_the_partition_key(tmp_path):
    keyed = loaded(tmp_path, f'{GOOD}\n[collection]\npartition_key = "title"')
    assert json.loads(to_json(keyed, SPACE))["partition_key"] == "title"
    assert "partition_key" not in json.loads(to_json(loaded(tmp_path), SPACE))
