"""Invisible characters: ids lose them at the ends, and inside keep only those that change how the text looks."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.catalog import reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file, invisible_characters
from ingest.core.records import Reason, Skipped

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = contract_file.load(contract_file.default_path())
UNSEEN = [
    *map(chr, [0x00AD, 0x034F, 0x061C, 0x115F, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0x2064, 0x3164]),
    *map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xFFA0, 0xFE0F, 0xE0001, 0xE0041, 0xE0100]),
]
SHAPED = {
    "a coat": "🧥1",
    "a coat with a skin tone": "🧥🏽",
    "a family": "👨‍👩‍👧",
    "a heart on fire": "❤️‍🔥",
    "a polar bear": "🐻‍❄️",
    "a head shaken": "🙂‍↔️",
    "a doctor": "👩🏽‍⚕️",
    "a rainbow flag": "🏳️‍🌈",
    "the flag of England": "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "a keycap": "1️⃣",
    "a telephone at the end": "line ☎️",
    "Persian": "می‌خواهم",
    "Hindi": "क्‍ष",
    "a variant of a Japanese name": "葛󠄀",
    "no invisible character": "Größe-ß a\u00a0b",
}


def read(folder: Path, *ids: str):
    path = folder / "p.csv"
    lines = "".join(f"{product_id},{number}.jpg\n" for number, product_id in enumerate(ids))
    path.write_text("product_id,image\n" + lines, encoding="utf-8")
    return list(reader.read_catalog(path, SHIPPED, Columns()))


@pytest.mark.parametrize("character", UNSEEN, ids=lambda character: f"U+{ord(character):04X}")
def test_an_invisible_character_inside_an_id_skips_the_row_and_is_named(tmp_path, character):
    skipped, good = read(tmp_path, f"A{character}1", "A1")
    assert isinstance(skipped, Skipped)
    assert skipped.reason is Reason.BAD_ROW
    assert f"must not contain U+{ord(character):04X} {unicodedata.name(character)}" in skipped.detail
    assert good.product_id == "A1"


@pytest.mark.parametrize("character", UNSEEN, ids=lambda character: f"U+{ord(character):04X}")
def test_invisible_characters_at_the_ends_are_stripped_like_spaces(tmp_path, character):
    first, second, empty = read(tmp_path, f"{character} A1 {character}{character}", f" {character}A2", f"{character} ")
    assert (first.product_id, second.product_id) == ("A1", "A2")
    assert empty.reason is Reason.NO_ID


@pytest.mark.parametrize("product_id", SHAPED.values(), ids=SHAPED.keys())
def test_invisible_characters_that_change_how_text_looks_stay(tmp_path, product_id):
    first, second = read(tmp_path, product_id, f"\u200b{product_id}\ufeff x")
    assert first.product_id == product_id
    assert isinstance(second, Skipped)


def test_an_id_that_differs_by_invisible_characters_alone_is_a_duplicate(tmp_path):
    _, second = read(tmp_path, "A1", "\u200bA1")
    assert second.reason is Reason.DUPLICATE_ID


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12))
def test_a_stripped_text_has_nothing_invisible_at_its_ends_and_loses_only_ends(text):
    stripped = invisible_characters.strip(text)
    assert stripped in text
    assert invisible_characters.strip(stripped) == stripped
    assert stripped == stripped.strip()
    if not invisible_characters.may_have(text):
        assert stripped == text.strip()
        assert invisible_characters.find_first(text) is None
