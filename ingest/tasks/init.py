"""Look at a catalog, and write the schema and the settings that fit it."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.catalog import files
from ingest.catalog.decimal_signs import Proof, decide, refuse_open
from ingest.catalog.number_text import COMMA, POINT
from ingest.catalog.options import ReadOptions
from ingest.catalog.survey import ColumnFacts, Survey, survey
from ingest.core import contract_file
from ingest.core.errors import ConfigError, StorageError
from ingest.core.field import MAX_VARCHAR, FaultError, field_name
from ingest.core.settings import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings

_IDS = ("product_id", "productid", "id", "sku", "handle", "article", "artikelnummer", "item_id", "code", "ean", "gtin")
_IMAGES = ("image", "image_link", "image_url", "images", "img", "picture", "photo", "bild", "foto", "url")
_LENGTHS = (64, 256, 1024, 4096, 16_384, MAX_VARCHAR)
_ID_LENGTHS = (128, 256, 512, 1024, 4096, MAX_VARCHAR)
_MOST_FIELDS = 30  # of Milvus' 64; other columns go to the dynamic field
_RESERVED = {"product_id", "row_digest", "image_sha256", "embedding"}
_LIKELY = 0.5  # of the filled cells of an image column look like images


@dataclass(frozen=True, slots=True)
class InitialFiles:
    """A schema and settings for a catalog: their paths and texts, what was seen, and what will not fit."""

    schema: Path
    schema_text: str
    config: Path
    config_text: str
    seen: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    id_column: str
    image_column: str
    fields: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def suggest(settings: Settings) -> InitialFiles:
    """Read the catalog, and return the files that fit it; nothing is written.

    Raises CatalogError if it cannot be read, also if it can be in two ways; ConfigError if no column can be the id or
    the image.
    """
    folder = _folder(settings.catalog)
    found = survey(settings.catalog, ReadOptions.of(settings))
    draft = _Draft(_id_column(settings, found), _image_column(settings, found))
    signs = _signs(settings, found)
    how = ", ".join(filter(None, (found.dialect, found.encoding)))
    draft.seen.append(f"{settings.catalog}: {found.rows:,} rows; {how}")
    _describe(draft, found)
    taken = set(_RESERVED)
    for name, facts in found.columns.items():
        if name in (draft.id_column, draft.image_column):
            continue
        if len(draft.fields) == _MOST_FIELDS:
            draft.warnings.append(
                f"more than {_MOST_FIELDS} columns: {name} and those after it go to the dynamic field"
            )
            break
        _add_field(draft, name, facts, found.rows, taken)
    stem = re.sub(r"\W+", "_", Path(str(settings.catalog).rstrip("/")).name.partition(".")[0]).strip("_") or "products"
    schema = folder / "schema" / f"{stem}.toml"
    longest = max(found.columns[draft.id_column].longest, 1)
    text = _schema_text(draft, _room(longest, _ID_LENGTHS), found.columns[draft.image_column])
    config = folder / FILE_NAME
    config_text = "\n".join(_config_lines(settings, found, draft, signs, schema, folder)) + "\n"
    return InitialFiles(schema, text, config, config_text, tuple(draft.seen), tuple(draft.warnings))


def write(made: InitialFiles) -> None:
    """Write both files; raises ConfigError if one of them exists, before anything is written."""
    for path in (made.schema, made.config):
        if path.exists():
            raise ConfigError(f"{path}: exists already, and is not overwritten; move it away, and run again")
    try:
        made.schema.parent.mkdir(exist_ok=True)
        for path, text in ((made.schema, made.schema_text), (made.config, made.config_text)):
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise StorageError(f"{error.filename}: cannot be written: {error.strerror}") from error
    contract_file.load(made.schema)  # what was written is what a run reads


def _folder(catalog: Path | str) -> Path:
    """Return the folder beside a catalog; a folder of part files must not get other files."""
    if isinstance(catalog, str):
        return Path()
    folder = files.folder_of(catalog)
    assert folder is not None
    return folder.parent if catalog.is_dir() or folder != catalog.parent else folder


def _id_column(settings: Settings, found: Survey) -> str:
    if settings.id_column in found.columns:
        return settings.id_column
    unique = [name for name, facts in found.columns.items() if facts.are_unique and not facts.images]
    ranked = sorted(unique, key=lambda name: (_rank(name, _IDS), found.columns[name].longest))
    named = [name for name in ranked if _rank(name, _IDS) < len(_IDS)]
    whole = [name for name in unique if found.columns[name].are_whole or not found.columns[name].are_numbers]
    if not (named or whole):
        names = ", ".join(map(repr, list(found.columns)[:10]))
        raise ConfigError(
            f"{settings.catalog}: no column has another value in each row; the columns are {names}; name the one that "
            "identifies a product with --id-column NAME"
        )
    return (named or whole)[0]


def _image_column(settings: Settings, found: Survey) -> str:
    if settings.image_column in found.columns:
        return settings.image_column
    likely = [name for name, facts in found.columns.items() if facts.filled and facts.images >= _LIKELY * facts.filled]
    if not likely:
        names = ", ".join(map(repr, list(found.columns)[:10]))
        raise ConfigError(
            f"{settings.catalog}: no column holds images; the columns are {names}; name the one with their addresses "
            "or paths with --image-column NAME"
        )
    return min(likely, key=lambda name: (-found.columns[name].files, _rank(name, _IMAGES)))


def _rank(name: str, known: tuple[str, ...]) -> int:
    plain = re.sub(r"\W+", "_", name.lower())
    return next((at for at, one in enumerate(known) if plain == one), len(known))


def _signs(settings: Settings, found: Survey) -> dict[str, str]:
    """Return the decimal signs of the columns of numbers; raises AmbiguousCatalogError if one may have either."""
    if settings.decimal != "auto":
        return {}
    numbers = {name: facts.proofs for name, facts in found.columns.items() if facts.are_numbers}
    signs = {}
    for name, column in numbers.items():
        others = Proof.NOTHING
        for other, proofs in numbers.items():
            others |= proofs.proofs if other != name else Proof.NOTHING
        if column.open_at is not None:
            signs[name] = decide(column.proofs, others)
            if not signs[name]:
                refuse_open(name, column.open_at)
        elif column.proofs & (Proof.COMMA_IS_DECIMAL | Proof.POINT_GROUPS):
            signs[name] = COMMA
        elif column.proofs & (Proof.POINT_IS_DECIMAL | Proof.COMMA_GROUPS):
            signs[name] = POINT
    return signs


def _describe(draft: _Draft, found: Survey) -> None:
    key, image = found.columns[draft.id_column], found.columns[draft.image_column]
    unique = "another value in each row" if key.are_unique else "NOT another value in each row"
    draft.seen.append(f"id: {draft.id_column}, {unique}, up to {key.longest} bytes")
    draft.seen.append(f"image: {draft.image_column}, {image.images:,} of {image.filled:,} look like images")
    if not key.are_unique:
        draft.warnings.append(f"{draft.id_column}: rows that repeat an id, or have none, will be skipped")
    if image.filled < found.rows:
        draft.warnings.append(
            f"{draft.image_column}: {found.rows - image.filled:,} rows have no image, and are skipped"
        )


def _add_field(draft: _Draft, name: str, facts: ColumnFacts, rows: int, taken: set[str]) -> None:
    if not facts.filled:
        draft.warnings.append(f"{name}: is empty in every row, and is left out")
        return
    if facts.longest > MAX_VARCHAR:
        draft.warnings.append(f"{name}: up to {facts.longest:,} bytes, more than a VARCHAR holds; left out")
        return
    ours = _field_name(name, taken)
    taken.add(ours)
    lines = ["[[fields]]", f"name = {json.dumps(ours)}"]
    if ours != name:
        lines.append(f"column = {_toml(name)}")
    if facts.are_truths:
        lines += ['type = "BOOL"', "default = false"]
    elif facts.are_numbers and facts.are_whole and facts.filled == rows:
        lines += ['type = "INT64"', "default = 0"]
    elif facts.are_numbers:
        lines += ['type = "DOUBLE"', "default = nan             # so that a filter never finds an unknown number"]
    else:
        room = _room(facts.longest, _LENGTHS)
        lines += [
            'type = "VARCHAR"',
            f"max_length = {room:<12} # bytes; the longest has {facts.longest:,}",
            'default = ""',
        ]
    kind = next(line.partition('"')[2].rstrip('"') for line in lines if line.startswith("type"))
    draft.seen.append(f"field: {name} → {ours}, {kind}")
    draft.fields.append("\n".join(lines))


def _field_name(name: str, taken: set[str]) -> str:
    """Return a column's name as one that Milvus accepts, and no other field has."""
    letters = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", letters).strip("_") or "field"
    plain = f"f_{plain}" if plain[0].isdigit() else plain
    for candidate in (plain, f"{plain}_", *(f"{plain}_{number}" for number in range(2, 100))):
        try:
            if candidate not in taken and candidate != "image":
                return field_name(candidate, "name")
        except FaultError:
            continue
    return f"field_{len(taken)}"


def _room(longest: int, lengths: tuple[int, ...]) -> int:
    """Return a length that is at least twice the longest, as far as that is possible."""
    return next((length for length in lengths if length >= 2 * longest), lengths[-1])


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _schema_text(draft: _Draft, id_length: int, image: ColumnFacts) -> str:
    room = max(4096, _room(image.longest, _LENGTHS))
    of_image = f'[[fields]]\nname = "image"\ntype = "VARCHAR"\nmax_length = {room}\ndefault = ""'
    fields = "\n\n".join([*draft.fields, of_image])
    return f"""# The contract with the apps that query; written by ingest init, and yours from now on.
version = 1
alias = "products"
others = "dynamic"        # catalog columns not named below: "dynamic" keeps them, "drop" leaves them out

[product_id]
max_length = {id_length:<12} # UTF-8 bytes; a longer id is skipped, never cut

[embedding]
field = "embedding"
metric = "IP"
index = "HNSW"
M = 16
efConstruction = 200
ef = 64

{fields}
"""


def _config_lines(
    settings: Settings, found: Survey, draft: _Draft, signs: dict[str, str], schema: Path, folder: Path
) -> Iterator[str]:
    place = settings.catalog if isinstance(settings.catalog, str) else os.path.relpath(settings.catalog, folder)
    yield "# Settings for ingest run, beside the catalog; the keys are the flags' names. Written by ingest init."
    yield f"catalog = {_toml(Path(place).as_posix() if not isinstance(settings.catalog, str) else place)}"
    yield f"schema = {_toml(f'schema/{schema.name}')}"
    for key, name in (("id_column", draft.id_column), ("image_column", draft.image_column)):
        if name != {"id_column": "product_id", "image_column": "image"}[key]:
            yield f"{key} = {_toml(name)}"
    for key in ("format", "delimiter", "encoding", "quotes", "decimal"):
        if (value := getattr(settings, key)) != "auto":
            yield f"{key} = {_toml(str(value))}"
    if settings.variants:
        yield "variants = true"
    if settings.encoding == "auto" and found.encoding and not found.encoding.startswith("UTF-"):
        yield f"encoding = {_toml(found.encoding)}"
    if signs and set(signs.values()) == {COMMA}:
        yield f'decimal = "comma"         # as in {", ".join(map(_toml, signs))}'
