"""Skipped products: an example of each reason, and whether there are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core import escape
from ingest.core.errors import ConfigError
from ingest.core.records import Reason
from ingest.core.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.records import Skipped

_EXAMPLE_CHARACTERS = 120


def example(skipped: Skipped, catalog: str) -> str:
    """Return the line of a skipped product and the reason, on one line: bounded, printable, without secrets.

    A URL is shown as `scheme://host/path`. The file is named only if it is not `catalog`, the catalog's own name.
    """
    place = f"line {skipped.line}" if skipped.file in ("", catalog) else f"{skipped.file} line {skipped.line}"
    text = escape.line(redact_text(f"{place}: {' '.join(skipped.detail.split())}"))
    return text if len(text) <= _EXAMPLE_CHARACTERS else f"{text[: _EXAMPLE_CHARACTERS - 1]}…"


def describe_unusable(reasons: Mapping[str, int], products: int) -> str:
    """Say that none of `products` could be used, the most frequent reason, and what to do about it."""
    reason, count = max(reasons.items(), key=lambda item: item[1])
    which = f"all {reason}" if count == products else f"{count:,} {reason}"
    whole = "the only product" if products == 1 else f"none of the {products:,} products"
    return f"{whole} could {'not ' * (products == 1)}be used ({which}); {Reason(reason).remedy}"


def describe_too_many(skipped: int, products: int, allowed: str, table: str) -> str:
    """Say that more products were skipped than --max-skipped allows, and that `table` has the reasons."""
    return (
        f"{skipped} of {products} products were skipped, more than --max-skipped {allowed} allows; "
        f"the reasons are in {table}"
    )


def too_many(skipped: int, products: int, allowed: str, option: str = "--max-skipped") -> bool:
    """Return whether more were skipped than `allowed`: "" for any number, "50", or "5%" of the products.

    Raises ConfigError, naming the option, for anything else.
    """
    if not allowed:
        return False
    number = allowed.removesuffix("%").strip()
    try:
        limit = float(number)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ConfigError(f"{option} {allowed}: pass a number of products such as 50, or a share such as 5%")
    return skipped > (limit / 100 * products if allowed.endswith("%") else limit)
