"""How many products apps may lose at once, when an alias or an export is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

LEAST_KEPT_PERCENT = 80
"""At least this share of the products that apps found before must be found afterwards."""


def loses_too_many(lost: Collection[str], served: Collection[str], *, allowed: bool) -> bool:
    """Return whether fewer than 80 % of the `served` ids remain without the `lost` ones, which are among them.

    `allowed` means that the user accepts any loss.
    """
    return not allowed and 100 * (len(served) - len(lost)) < LEAST_KEPT_PERCENT * len(served)
