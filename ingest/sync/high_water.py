"""The most products that apps found in the last seven runs, kept from run to run with what they find."""

from __future__ import annotations

import json
from dataclasses import dataclass

RUNS = 7


@dataclass(frozen=True, slots=True)
class HighWater:
    """How many products were found in each of the last seven runs, in order, from the most on; () if unknown.

    What came before the most does not matter: it is forgotten first. So a run that finds as many as ever changes
    nothing.
    """

    figures: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> HighWater:
        """Read what `to_json` has written; anything else counts as unknown."""
        try:
            return cls.of(json.loads(text))
        except (ValueError, RecursionError):
            return cls()

    @classmethod
    def of(cls, figures: object) -> HighWater:
        """Return the high water of these figures, as JSON has them; of anything but whole numbers it is unknown."""
        if not isinstance(figures, list | tuple) or not all(type(figure) is int and figure >= 0 for figure in figures):
            return cls()
        return cls(_from_the_most_on(tuple(figures)))

    def to_json(self) -> str:
        """Return the figures as a JSON list."""
        return json.dumps(self.figures)

    def most(self, served: int) -> int:
        """Return the most that was found, which is at least what is `served` now."""
        return max((*self.figures, served))

    def add(self, before: int, after: int, *, is_allowed: bool = False) -> HighWater:
        """Return the high water after one more run, with so many products before and after it.

        If the user has allowed the loss, what was before does not matter any more.
        """
        return HighWater((after,)) if is_allowed else HighWater(_from_the_most_on((*self.figures, max(before, after))))


def _from_the_most_on(figures: tuple[int, ...]) -> tuple[int, ...]:
    """Return the last seven figures, without those before the last of the largest."""
    recent = figures[-RUNS:]
    return recent[max(range(len(recent)), key=lambda at: (recent[at], at)) :] if recent else ()
