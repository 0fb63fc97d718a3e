"""Which decimal sign a column's numbers have: the one that its own values prove, or that a flag or the last run says.

A column is looked at as a whole, and only when a cell allows two readings: 1.299 may be a little more than one, or
thousands. Every other number says itself what it means.
"""

from __future__ import annotations

from enum import Flag, auto
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ingest.catalog.casting import CastError
from ingest.catalog.number_text import COMMA, POINT, NumberText, parse
from ingest.core.errors import AmbiguousCatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ingest.catalog.options import ReadOptions

NEITHER = "neither"
"""The sign of a column with a decimal point, in which no value proves that a comma groups: 1,299 is no number there."""
NULL = "\\N"
"""What MySQL and PostgreSQL write for a cell without a value, also of text."""


class Proof(Flag):
    """What a number proves, or leaves open, about the point and the comma in it."""

    NOTHING = 0
    POINT_IS_DECIMAL = auto()
    COMMA_IS_DECIMAL = auto()
    POINT_GROUPS = auto()
    COMMA_GROUPS = auto()
    OPEN_POINT = auto()
    OPEN_COMMA = auto()
    HAS_NULL = auto()


_FOR_POINT = Proof.POINT_IS_DECIMAL | Proof.COMMA_GROUPS
_FOR_COMMA = Proof.COMMA_IS_DECIMAL | Proof.POINT_GROUPS
_OPEN = Proof.OPEN_POINT | Proof.OPEN_COMMA


class CellPlace(NamedTuple):
    """Where a cell is, and what it says."""

    file: str
    line: int
    text: str


class ColumnProofs:
    """What the cells of a column prove together, and where the first cell that is open is."""

    def __init__(self) -> None:
        self.proofs = Proof.NOTHING
        self.open_at: CellPlace | None = None

    def add(self, texts: Iterable[str], place: Callable[[str], CellPlace]) -> None:
        """Add cells; `place` says where the first with a text is."""
        for text in texts:
            proof = prove(text)
            self.proofs |= proof
            if proof & _OPEN and self.open_at is None:
                self.open_at = place(text)


@lru_cache(1 << 16)
def prove(text: str) -> Proof:
    """Return what one cell proves."""
    if text == NULL:
        return Proof.HAS_NULL
    number = parse(text)
    has_point, has_comma = "." in text, "," in text
    if number.is_ambiguous:
        return Proof.OPEN_POINT if has_point else Proof.OPEN_COMMA
    found = Proof.NOTHING
    if number.comma is None and number.point is not None:
        found = (Proof.POINT_IS_DECIMAL if has_point else found) | (Proof.COMMA_GROUPS if has_comma else found)
    elif number.point is None and number.comma is not None:
        found = (Proof.COMMA_IS_DECIMAL if has_comma else found) | (Proof.POINT_GROUPS if has_point else found)
    return found


def decide(proofs: Proof, others: Proof, last: str = "") -> str:
    """Return the sign that the open cells of a column have, or NEITHER; "" if two are possible.

    `others` is what the other columns prove, `last` the sign of this one when the catalog was last read.
    """
    signs = {
        _decide_point(proofs, others) if proofs & Proof.OPEN_POINT else None,
        _decide_comma(proofs) if proofs & Proof.OPEN_COMMA else None,
    } - {None}
    if NEITHER in signs and signs <= {NEITHER, POINT}:
        return POINT if last == POINT else NEITHER
    if len(signs) == 1 and (sign := signs.pop()):
        contradicts = last and last != sign and not proofs & (_FOR_POINT if sign == POINT else _FOR_COMMA)
        return last if contradicts else sign
    against = {POINT: _FOR_COMMA, COMMA: _FOR_POINT}
    return last if last and not proofs & against[last] else ""


def _decide_point(proofs: Proof, others: Proof) -> str:
    """Return what the point in 1.299 is: a decimal point unless something speaks against it."""
    if not proofs & _FOR_COMMA:
        is_doubtful = others & _FOR_COMMA and not (others | proofs) & Proof.POINT_IS_DECIMAL
        return "" if is_doubtful else POINT
    return COMMA if proofs & Proof.POINT_GROUPS and not proofs & _FOR_POINT else ""


def _decide_comma(proofs: Proof) -> str:
    """Return what the comma in 1,299 is; nothing is assumed, also not that it groups because the point does not."""
    if proofs & Proof.COMMA_GROUPS and not proofs & _FOR_COMMA:
        return POINT
    if proofs & _FOR_COMMA:
        return COMMA if proofs & Proof.COMMA_IS_DECIMAL and not proofs & _FOR_POINT else ""
    return NEITHER if proofs & Proof.POINT_IS_DECIMAL else ""


class DecimalSigns:
    """Reads the cells of a catalog's number columns; `scan` looks at all of them, when a cell is open.

    Without a `scan` an open point is a decimal one.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.scan: Callable[[], Mapping[str, ColumnProofs]] | None = None
        self._seen: dict[str, Proof] = {}
        self._decided: dict[str, str] = {}
        self._has_null: bool | None = None

    def reads_plainly(self, column: str) -> bool:
        """Return whether an open point in this column is certainly a decimal one."""
        return self._options.decimal == POINT or (self._options.memory.signs or {}).get(column) == POINT

    @property
    def may_be_fast(self) -> bool:
        """Whether numbers with a decimal point may be converted without looking at each."""
        return self._options.decimal != COMMA

    def plain(self, column: str, text: str) -> str:
        """Return a cell as a plain number, such as -1299.50.

        Raises CastError if the cell is not a number, and AmbiguousCatalogError if it may be two numbers and neither the
        column nor a flag decides.
        """
        number, sign = parse(text), self._options.decimal
        if number.is_ambiguous:
            sign = sign or self._sign(column)
            if sign == NEITHER and "," in text:
                raise CastError(
                    f"{number.point} if the comma groups, which no other value shows; pass --decimal point if so"
                )
            sign = POINT if sign == NEITHER else sign
            self._decided[column] = sign
        elif not sign:
            proof, seen = prove(text), self._seen.get(column, Proof.NOTHING)
            if proof is not seen and proof not in seen:
                self._seen[column] = seen | proof
        found = {POINT: number.point, COMMA: number.comma, "": number.point or number.comma}[sign]
        if found is None:
            is_other = number != NumberText(None, None)
            raise CastError(f"with --decimal {sign} this is no number" if is_other else "")
        return found

    def is_null(self, text: str) -> bool:
        r"""Return whether `\N` in a text column is an empty cell: a column of numbers has it too."""
        if text != NULL or self.scan is None:
            return False
        if self._has_null is None:
            self._has_null = any(column.proofs & Proof.HAS_NULL for column in self.scan().values())
        return self._has_null

    def signs(self) -> dict[str, str]:
        """Return the sign of each column whose numbers are not all plain, for the profile of the catalog."""
        found = dict(self._decided)
        for column, proofs in self._seen.items():
            if proofs & _FOR_COMMA and not proofs & _FOR_POINT:
                found[column] = COMMA
            elif proofs & Proof.COMMA_GROUPS and not proofs & _FOR_COMMA:
                found[column] = POINT
        return {column: sign for column, sign in found.items() if not self._is_usual(column, sign)}

    def _is_usual(self, column: str, sign: str) -> bool:
        """Return whether a column has a decimal point and nothing else, which needs no mention."""
        return sign == POINT and not self._options.decimal and not self._seen.get(column, Proof.NOTHING) & _FOR_POINT

    def _sign(self, column: str) -> str:
        memory = self._options.memory
        if self.scan is None:
            return POINT
        if memory.signs is None:
            memory.signs = self._decide_all(self.scan())
        return memory.signs.get(column, POINT)

    def _decide_all(self, columns: Mapping[str, ColumnProofs]) -> dict[str, str]:
        last = self._options.last.decimals if self._options.last else {}
        signs = {}
        for name, found in columns.items():
            if not found.proofs & _OPEN:
                continue
            others = Proof.NOTHING
            for other, proofs in columns.items():
                others |= proofs.proofs if other != name else Proof.NOTHING
            signs[name] = decide(found.proofs, others, last.get(name, ""))
            if not signs[name]:
                assert found.open_at is not None
                refuse_open(name, found.open_at)
        return signs


def refuse_open(column: str, place: CellPlace) -> NoReturn:
    """Raise AmbiguousCatalogError for a cell that may be two numbers."""
    number = parse(place.text)
    raise AmbiguousCatalogError(
        f"{place.file} line {place.line}: {column} is {place.text!r}, which is {number.point} with a decimal point and "
        f"{number.comma} with a decimal comma, and no other value decides; pass --decimal point or --decimal comma"
    )


def place_in(file: str, lines: Sequence[int], column: Sequence[object]) -> Callable[[str], CellPlace]:
    """Return the function that finds where a text first stands in a block's column."""
    return lambda text: CellPlace(file, lines[column.index(text)], text)
