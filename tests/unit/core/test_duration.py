"""Durations as users write them."""

from __future__ import annotations

import pytest

from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90 m", 5_400), ("0.5h", 1_800), (" 7d ", 604_800), ("2w", 1_209_600)]
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert parse_duration(text, "--grace") == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1d2h"])
def test_anything_else_is_an_error_that_names_the_option(text):
    with pytest.raises(ConfigError, match=f"--grace {text}: not a duration; write a number and s, m, h, d or w"):
        parse_duration(text, "--grace")
