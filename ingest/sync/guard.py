"""The one rule about products that could no longer be found: how many may be lost at once. Pure, on sets of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

LEAST_KEPT_PERCENT = 80
"""Of the products that could be found before, at least this share must still be found afterwards."""


def loses_too_many(lost: Collection[str], served: Collection[str], *, allowed: bool) -> bool:
    """Return whether fewer than 80 % of the `served` ids would be left without the `lost` ones, which are among them.

    `allowed` is that the user has agreed to any loss.
    """
    return not allowed and 100 * (len(served) - len(lost)) < LEAST_KEPT_PERCENT * len(served)
