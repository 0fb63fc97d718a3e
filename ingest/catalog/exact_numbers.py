"""Numbers kept exactly: whether a double is still the decimal number it was read from."""

from __future__ import annotations

import struct
from decimal import Decimal, InvalidOperation

SAFE_LENGTH = 15  # digits that a double always keeps (DBL_DIG), unless an exponent makes it tiny
_LARGEST_WHOLE = 2**53  # up to here a double holds each whole number


def keeps(number: float, written: str | int | Decimal) -> bool:
    """Return whether a double, written with as many significant digits, is the decimal number it was made from.

    0.1 is kept, and so is 0.10000000000000001, the same double written with 17 digits. 12345678901234567.8 is not: it
    would come back as 12345678901234568.
    """
    if isinstance(written, int):
        if -_LARGEST_WHOLE <= written <= _LARGEST_WHOLE:
            return number == written
    elif isinstance(written, str) and (repr(number) == written or _is_short(written)):
        return True
    return _equals(number, Decimal(written))


def _equals(number: float, value: Decimal) -> bool:
    digits = len("".join(map(str, value.as_tuple().digits)).strip("0")) or 1
    return Decimal(f"{number:.{digits - 1}e}") == value or Decimal(repr(number)) == value


def _is_short(written: str) -> bool:
    return len(written) <= SAFE_LENGTH and "e" not in written and "E" not in written


def from_json(written: str) -> float | Decimal:
    """Return a JSON number that has a fraction or an exponent: a float if that keeps it, else a Decimal.

    Raises ValueError for an exponent that is out of range.
    """
    number = float(written)
    try:
        return number if keeps(number, written) else Decimal(written)
    except InvalidOperation as error:
        raise ValueError(f"{written[:60]} is out of range") from error


def plain(value: Decimal) -> int | float | Decimal:
    """Return a decimal as the JSON number that keeps it: an int if it has no decimal places; itself if none does."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):  # infinity, or not a number
        return float(value)
    if exponent >= 0:
        return int(value) if value.adjusted() < 19 else value  # longer ones have more than 64 bits
    number = float(value)
    return number if keeps(number, value) else value


def float32(number: float) -> float:
    """Return a double rounded to 32 bits; raises OverflowError beyond their range."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])
