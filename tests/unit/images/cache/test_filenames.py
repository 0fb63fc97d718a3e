"""Ids as file names."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.images.cache.filenames import decode, encode, is_safe

ids = st.one_of(st.text(max_size=300), st.text("aAbB_-.~% /\\\0é", max_size=40), st.text("aAzZ0_", max_size=24))
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}


@pytest.mark.parametrize(
    "product_id",
    [
        "P0017",
        "00123",
        "abc-1_2",
        "SKU-001",
        "B07XJ8C8F5",
        "123e4567-e89b-12d3-a456-426614174000",
        "5f2ab64c0e1d2a0011aa22bb",
    ],
)
def test_a_usual_id_stays_as_it_is(product_id):
    assert encode(product_id) == product_id


@pytest.mark.parametrize(
    ("product_id", "name"),
    [
        ("p0017", "p0017~1"),
        ("shoe", "shoe~f"),
        ("a/b", "a%2Fb~3"),
        ("NUL", "%4EUL"),
        ("", "~0"),
        ("é", "%C3%A9"),
    ],
)
def test_any_other_id_stays_readable(product_id, name):
    assert encode(product_id) == name


def hard(test):
    """Always try the ids that file systems handle badly."""
    for product_id in (
        "../../etc/passwd",
        "a\0b",
        "..",
        "🫖" * 64,
        "x" * 255,
        "é" * 256,
        "\u202egnp.exe",
        "con.jpg",
        "~",
    ):
        test = example(product_id)(test)
    return test


@hard
@given(ids)
def test_a_name_is_safe_everywhere(product_id):
    name = encode(product_id)
    assert re.fullmatch(r"[A-Za-z0-9_%~-]{1,130}", name)
    assert name.upper() not in RESERVED


@hard
@given(ids)
def test_a_name_leads_back_to_its_id(product_id):
    name = encode(product_id)
    if "~~" in name:
        with pytest.raises(ValueError):
            decode(name)
    else:
        assert decode(name) == product_id


@given(ids, ids)
def test_two_ids_never_share_a_name(one, other):
    assert (encode(one).casefold() == encode(other).casefold()) == (one == other)


@given(st.text("aAbB0_-", min_size=1, max_size=30), st.randoms())
def test_ids_that_differ_only_in_case_never_share_a_name(one, random):
    other = "".join(random.choice((letter.lower(), letter.upper())) for letter in one)
    assert (encode(one).casefold() == encode(other).casefold()) == (one == other)


@pytest.mark.parametrize("letters", ["x" * 300, "é" * 100, "aB" * 80, "../" * 60])
def test_a_long_id_keeps_its_beginning_and_its_difference(letters):
    assert encode(letters) != encode(letters + "x")
    assert len(encode(letters)) <= 130


@pytest.mark.parametrize("name", ["P1.jpg", "a~0", "ABC~8", "%41", "nul", "%zz", "x~~" + "0" * 64, "\n", "P1~1\n"])
def test_a_name_from_elsewhere_is_no_products(name):
    with pytest.raises(ValueError):
        decode(name)


def test_only_safe_ids_are_looked_up_as_they_are():
    assert all(map(is_safe, ["shoe", "P 1", "12.5-a", "a_b"]))
    assert not any(map(is_safe, ["", "../a", "a/b", "nul", "Con.x", "a.", "a ", ".a", "-a", "é", "a\0", "a\n"]))


@given(st.lists(ids, unique=True, max_size=30))
def test_every_id_has_a_file_of_its_own_even_if_case_is_ignored(product_ids):
    names = [encode(product_id) for product_id in product_ids]
    assert len({name.casefold() for name in names}) == len(product_ids)
