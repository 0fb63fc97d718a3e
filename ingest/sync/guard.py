"""How many products apps may lose at once: what prunes, alias switches, exports and plans ask before any is lost."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LOST = 0.2
"""The share of the products that apps may lose, unless the user allows more: 80 % of what they found stays."""
ANY = 1.0
"""The share if the user allows any loss."""
_MOST = Fraction(1, 2)


def most_missing(allowed: float = MOST_LOST) -> Fraction:
    """Return the share of the served products that a catalog may lack and still be about them."""
    return max(_MOST, Fraction(str(allowed)))


@dataclass(frozen=True, slots=True)
class Loss:
    """What would be lost: `lost` of `served` products; apps would find `found`, and found `high_water` at most lately.

    `allowed` is the share that the user accepts.
    """

    lost: int
    served: int
    found: int
    high_water: int
    allowed: float

    @property
    def reason(self) -> str:
        """Why this is too much, as the end of a sentence about what is lost; "" if it may be lost."""
        if self._exceeds(self.allowed):
            return f"more than {100 * self.allowed:.3g} %"
        if self._sinks(self.allowed):
            kept = 1 - max(self.allowed, MOST_LOST)
            return (
                f"which leaves {self.found:,}, fewer than {kept:.0%} of the {self.high_water:,} of the last seven runs"
            )
        return ""

    @property
    def is_at_once(self) -> bool:
        """Whether it is too much at once, not only together with what earlier runs have lost."""
        return self._exceeds(self.allowed)

    @property
    def needs_leave(self) -> bool:
        """Whether it is too much, or would be if the user had not allowed more than the default."""
        return self._exceeds(MOST_LOST) or self._sinks(MOST_LOST)

    def _exceeds(self, share: float) -> bool:
        return self.lost > Fraction(str(share)) * self.served

    def _sinks(self, share: float) -> bool:
        kept = 1 - Fraction(str(max(share, MOST_LOST)))
        return self.lost > 0 and self.found < kept * self.high_water


def guard(lost: NDArray[np.bool_], high_water: int, allowed: float = MOST_LOST, *, found: int | None = None) -> Loss:
    """Judge a loss of products that apps find; `reason` of what is returned says whether it is too much.

    `lost` is (n,) bool, one for each id that apps find, True for those that they would not find any more: what is lost
    is compared by id, so that as many new products do not make up for it. `found` is how many products apps find
    afterwards, new ones included, by default those that are not lost; it must not fall below the same share of
    `high_water`, the most that they found in the last seven runs, so that many small losses are not passed one by one.
    A loss of nothing is never too much.
    """
    gone = int(np.count_nonzero(lost))
    return Loss(gone, len(lost), len(lost) - gone if found is None else found, high_water, allowed)


def are_other_products(lost: NDArray[np.bool_], new: int, rows: int, allowed: float = MOST_LOST) -> bool:
    """Return whether a catalog seems to be about other products than those that apps find, or to have other ids.

    `lost` is (n,) bool as in `guard`: which of the served ids the catalog lacks; `new` of the catalog's `rows` have an
    id that apps do not find. Most of both is as if every product had been renamed, which happens if ids are read from
    the wrong column. A catalog that was cut has few new ids, and one that has grown lacks few of the served ones. Up to
    the `allowed` share of the served products may be missing.
    """
    return int(np.count_nonzero(lost)) > most_missing(allowed) * len(lost) and new > _MOST * rows
