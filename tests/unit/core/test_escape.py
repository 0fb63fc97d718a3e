"""Text on its way out: nothing of it is obeyed by a terminal, computed by a spreadsheet or lost by JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.core.test_invisible_characters import SHAPED, UNSEEN

from ingest.core import escape

ATTACKS = {
    "a colour": "\x1b[31mred",
    "the clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "a title": "\x1b]0;owned\x1b\\",
    "a device control string": "\x1bP$q\x1b\\",
    "C1 for ESC [": "\x9b2J",
    "C1 for ESC ]": "\x9d0;owned\x9c",
    "overwriting the line": "mug\rpwn",
    "backspace": "mug\b\b\bpwn",
    "a second line": "mug\ningest: all is well",
    "separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "a direction": "mug \u202egpj.exe",
    "an isolate": "\u2066a\u2067b\u2068c\u2069",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff",
    "half a character": "a\ud800b\udc9bc",
    "delete and null": "a\x7fb\x00c",
    "a tag": "a\U000e0041b",
}
everything = st.text(st.characters() | st.sampled_from("".join(ATTACKS.values())), max_size=40)


def unsafe(text: str) -> list[str]:
    """Return the characters that no line may have: by Unicode's categories, not by our table."""
    allowed = {"Cc": "", "Cf": "\u200c\u200d", "Cs": "", "Co": "", "Zl": "", "Zp": ""}
    tags = {chr(code) for code in range(0xE0020, 0xE0080)}  # in the flags of regions
    visible = {chr(code) for code in (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2)}  # Arabic and Syriac
    return [
        letter for letter in text
        if (category := unicodedata.category(letter)) in allowed and letter not in allowed[category]
        and not (category == "Cf" and (letter in tags or letter in visible or ord(letter) in range(0x11000, 0x14000)))
    ]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_a_line_shows_what_would_be_obeyed(text):
    shown = escape.line(text)
    assert unsafe(shown) == []
    assert shown == "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert unsafe(escape.lines(text).replace("\n", "")) == []


@given(everything)
def test_no_text_leaves_anything_to_be_obeyed(text):
    assert unsafe(escape.line(text)) == []
    assert escape.line(escape.line(text)) == escape.line(text)
    assert unsafe(escape.lines(text).replace("\n", "").replace("\t", "")) == []
    assert unsafe(escape.csv_cell(text).replace("\r\n", "").replace("\n", "").replace("\t", "")) == []
    assert unsafe(escape.html_text(text).replace("\n", "").replace("\t", "")) == []


def test_every_character_is_escaped_by_its_category_and_every_other_stays():
    changed = {chr(code) for code in range(sys.maxunicode + 1) if escape.line(chr(code)) != chr(code)}
    assert unsafe("".join(set(map(chr, range(sys.maxunicode + 1))) - changed - {"\u200c", "\u200d"})) == []
    assert not [letter for letter in changed if unicodedata.category(letter)[0] in "LNPSZ" and letter.isprintable()
                and letter not in "\u115f\u1160\u3164\uffa0"]  # fmt: skip
    assert {*UNSEEN} <= changed


@pytest.mark.parametrize("text", [*SHAPED.values(), "Größe 5 €", "日本語", "a\u00a0b\u3000c", "שלום", "\U0001fa77"])
def test_what_shapes_a_text_stays_in_every_output(text):
    assert text in (shown := [escape.line(text), escape.lines(text), escape.csv_cell(text), escape.csv_id(text)])
    assert set(shown) == {text}
    assert escape.html_text(text) == text
    assert escape.json_text(text) == f'"{text}"'


@given(everything, everything)
def test_json_keeps_the_content_and_escapes_by_its_own_rules(name, text):
    written = escape.json_text({name: [text, 1.5, None]}, 2)
    assert json.loads(written) == json.loads(json.dumps({name: [text, 1.5, None]}))
    assert unsafe(written.replace("\n", "")) == []
    assert written == escape.in_json(written)
    assert escape.json_text({name: text}, ascii_only=True).isascii()


@given(everything)
def test_html_keeps_what_html_can_say(text):
    shown = escape.html_text(text)
    assert not {'"', "<", ">", "'"} & set(shown)
    visible = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs"))
    if visible == text:
        assert html.unescape(shown) == text


@pytest.mark.parametrize("start", ["=", "+", "@", "\t", "\r", "\n", "＝", "-", "－"])
def test_a_cell_that_a_spreadsheet_would_compute_gets_an_apostrophe(start):
    text = f"{start}cmd|' /C calc'!A0"
    assert escape.csv_cell(text) == "'" + escape.csv_cell("x" + text)[1:]
    assert escape.csv_id(f"{start}A0".strip()) == f"{start}A0".strip()


@pytest.mark.parametrize("value", [-1.5, 7, None, True, "-1.5", "-3", "a=b", "mug", "", "1e5"])
def test_numbers_and_plain_cells_stay(value):
    assert escape.csv_cell(value) is value or escape.csv_cell(value) == value
    assert type(escape.csv_cell(value)) is type(value)


@given(st.lists(everything, min_size=1, max_size=4))
def test_a_row_of_cells_is_read_back_as_one_row(cells):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([escape.csv_cell(cell) for cell in cells])
    file.seek(0)
    assert list(csv.reader(file)) == [[escape.csv_cell(cell) for cell in cells]]


def test_the_time_grows_with_the_text_alone():
    """Also if each character has to be looked at, as in a title of nothing but tags."""
    for character in ("\u200b", "\U000e0041", "\ufe0f", "\x1b"):
        began = time.process_time()
        escape.line(character * 20_000)
        assert time.process_time() - began < 2
