"""A schema and settings made from a catalog: with them a run reads every row; nothing is overwritten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest.catalog import reader
from ingest.catalog.rows import Columns
from ingest.cli.main import cli
from ingest.core import contract_file, settings
from ingest.core.errors import AmbiguousCatalogError, ConfigError
from ingest.core.records import Product
from ingest.core.settings import Settings
from ingest.tasks import init

CATALOGS = Path(__file__).parents[2] / "catalogs"
EXPECTED = json.loads((CATALOGS / "expected.json").read_text(encoding="utf-8"))
READABLE = [name for name, entry in EXPECTED.items() if "products" in entry and "options" not in entry]


def written(folder: Path, content: str, name: str = "shop.csv") -> Settings:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return Settings(catalog=folder / name)


@pytest.mark.parametrize("name", READABLE)
def test_what_is_written_reads_the_catalog(tmp_path, name):
    (tmp_path / name).write_bytes((CATALOGS / name).read_bytes())
    made = init.suggest(Settings(catalog=tmp_path / name))
    init.write(made)
    found = settings.load(tmp_path / "ingest.toml")
    contract = contract_file.load(found.schema)
    items = list(reader.read_catalog(found.catalog, contract, Columns.of(found)))
    products = [[item.product_id, item.image] for item in items if isinstance(item, Product)]
    assert products == [row[:2] for row in EXPECTED[name]["products"]]


def test_columns_are_found_by_what_they_hold_and_typed_with_room(tmp_path):
    table = (
        "Artikelnummer;Bezeichnung;Foto;Preis;Menge;Aktiv;2nd name;leer\n"
        "A-1;Tasse;https://e.com/1.jpg;12,50;5;yes;x;\nA-2;Lampe;https://e.com/2.jpg;1.049,00;7;no;y;\n"
    )
    made = init.suggest(written(tmp_path, table))
    init.write(made)
    contract = contract_file.load(made.schema)
    assert [(one.name, one.column, one.type, one.max_length) for one in contract.fields] == [
        ("Bezeichnung", "Bezeichnung", "VARCHAR", 64), ("Preis", "Preis", "DOUBLE", 0), ("Menge", "Menge", "INT64", 0),
        ("Aktiv", "Aktiv", "BOOL", 0), ("f_2nd_name", "2nd name", "VARCHAR", 64), ("image", "image", "VARCHAR", 4096),
    ]  # fmt: skip
    found = settings.load(made.config)
    assert (found.id_column, found.image_column, found.decimal) == ("Artikelnummer", "Foto", "comma")
    assert made.warnings == ("leer: is empty in every row, and is left out",)
    first, second = reader.read_catalog(found.catalog, contract, Columns.of(found))
    assert (first.metadata["Preis"], second.metadata["Preis"]) == (12.5, 1049.0)


@pytest.mark.parametrize("ending", ["jfif", "heic", "SVG"])
def test_an_image_column_is_found_by_every_ending_that_a_cell_of_images_knows(tmp_path, ending):
    table = f"nr,text,foto,note\n1,cup,pics/a.{ending},x\n2,mug,pics/b.{ending},y\n"
    made = init.suggest(written(tmp_path, table))
    init.write(made)
    assert settings.load(made.config).image_column == "foto"


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    made = init.suggest(written(tmp_path, "product_id,image\n1,a.jpg\n"))
    (tmp_path / "ingest.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists already"):
        init.write(made)
    assert (tmp_path / "ingest.toml").read_text(encoding="utf-8") == "mine"
    assert not made.schema.exists()


@pytest.mark.parametrize(
    ("table", "word"),
    [("a,image\nx,1.jpg\nx,2.jpg\n", "--id-column NAME"), ("product_id,title\n1,a\n2,b\n", "--image-column NAME")],
)
def test_a_column_that_is_not_found_is_asked_for(tmp_path, table, word):
    with pytest.raises(ConfigError, match=word):
        init.suggest(written(tmp_path, table))


def test_two_readings_are_refused_and_a_flag_is_kept_in_the_settings(tmp_path):
    chosen = written(tmp_path, "product_id;image;price\n1;a.jpg;1.299\n2;b.jpg;12,50\n")
    with pytest.raises(AmbiguousCatalogError, match="--decimal"):
        init.suggest(chosen)
    assert 'decimal = "comma"' in init.suggest(replace(chosen, decimal="comma")).config_text


def test_a_folder_of_parts_gets_no_other_files(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    for part in ("a", "b"):
        (parts / f"{part}.csv").write_text(f"product_id,image\n{part},{part}.jpg\n", encoding="utf-8")
    made = init.suggest(Settings(catalog=parts))
    init.write(made)
    assert (made.schema, made.config) == (tmp_path / "schema" / "parts.toml", tmp_path / "ingest.toml")
    assert settings.load(made.config).catalog == parts


def test_the_command_prints_both_files_and_writes_them(tmp_path):
    written(tmp_path, "product_id,image\n1,a.jpg\n")
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "shop.csv"), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "[product_id]" in done.output
    assert 'catalog = "shop.csv"' in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.csv"]
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "shop.csv")])
    assert f"run --config {tmp_path / 'ingest.toml'}" in done.output.replace("\n", "")
