"""Numbers as people write them: what 1.299,00 €, $1,049.00 or 1'299 mean with a decimal point and with a comma."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

POINT, COMMA = "point", "comma"
"""The decimal signs, as --decimal says them."""
NULL_WORDS = frozenset({"null", "\\n", "n/a", "#n/a", "na", "nan", "none", "nil", "-", "--", "–", "—"})
"""What an empty number is written as, in lower case; `\\N` is that of MySQL and PostgreSQL."""

_LONGEST = 64  # characters; a longer number is read only if it is a plain one
_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SPACES = " \u00a0\u2009\u202f"
_APOSTROPHES = "'’"
_WITHOUT_GROUPS = r"[0-9]+"
_OTHER_GROUPS = rf"[1-9][0-9]{{0,2}}(?:[{_SPACES}][0-9]{{3}})+|[1-9][0-9]{{0,2}}(?:[{_APOSTROPHES}][0-9]{{3}})+"
_INDIAN = r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}"
_SIGNED = r"(?P<sign>[+-]?)"


def _pattern(decimal: str, group: str, more: str) -> re.Pattern[str]:
    grouped = rf"[1-9][0-9]{{0,2}}(?:{re.escape(group)}[0-9]{{3}})+"
    whole = rf"(?P<whole>{_WITHOUT_GROUPS}|{grouped}|{_OTHER_GROUPS}{more})"
    part = rf"(?:{re.escape(decimal)}(?P<part>[0-9]*|[-–—]{{1,2}}))?"
    return re.compile(rf"{_SIGNED}(?:{whole}{part}|{re.escape(decimal)}(?P<only>[0-9]+))(?P<exponent>[eE][+-]?[0-9]+)?")


_PATTERNS = {POINT: _pattern(".", ",", "|" + _INDIAN), COMMA: _pattern(",", ".", "")}
_GROUPS = re.compile(rf"[.,{_SPACES}{_APOSTROPHES}]")
_AROUND = re.compile(
    r"(?P<sign>[+-]?)(?P<before>(?:[^0-9.,+-]+\.?\s*)?)(?P<number>[+-]?[.,]?[0-9].*?)(?P<after>(?:[^0-9.,–—-]+\.?)?)",
    re.DOTALL,
)
_CODES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
    CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL
    LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR
    PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP
    TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL
    """.split()  # noqa: SIM905  a list would be 160 lines
)
"""ISO 4217."""
_WORDS = frozenset({
    "fr", "fr.", "sfr", "sfr.", "kr", "kr.", "zł", "zl", "kč", "kc", "ft", "lei", "лв", "лв.", "руб", "руб.", "р.",
    "грн", "грн.", "rs", "rs.", "tl", "rm", "us$", "a$", "c$", "r$", "hk$", "nz$", "s$", "nt$", "mx$",
    "eur", "euro", "euros", "円", "元", "원",
})  # fmt: skip


class NumberText(NamedTuple):
    """How a text reads with a decimal point and with a decimal comma: plain numbers such as -1299.50, or None."""

    point: str | None
    comma: str | None

    @property
    def is_ambiguous(self) -> bool:
        """Whether both are numbers, and different ones."""
        return self.point is not None and self.comma is not None and self.point != self.comma


@lru_cache(1 << 16)
def parse(text: str) -> NumberText:
    """Return what a text means as a number, a currency before or after it left out."""
    text = text.strip()
    if len(text) > _LONGEST:
        plain = text.removeprefix("+") if _PLAIN.fullmatch(text) else None
        return NumberText(plain, None if "." in text else plain)
    found = _AROUND.fullmatch(text)
    if found is None or not all(map(_is_currency, found.group("before", "after"))):
        return NumberText(None, None)
    number = found["number"].strip(_SPACES)
    if found["sign"] and number[0] in "+-":
        return NumberText(None, None)
    return NumberText(*(_plain(pattern.fullmatch(found["sign"] + number)) for pattern in _PATTERNS.values()))


def is_null(text: str) -> bool:
    """Return whether a cell of a number says that there is none."""
    return len(text) < 8 and text.strip().lower() in NULL_WORDS


def _plain(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    part = found["only"] or (found["part"] or "").strip("-–—")
    whole = _GROUPS.sub("", found["whole"] or "0")
    sign = found["sign"].removeprefix("+")
    return f"{sign}{whole}{'.' if part else ''}{part}{found['exponent'] or ''}"


def _is_currency(text: str) -> bool:
    word = text.strip(_SPACES)
    if not word:
        return True
    return (len(word) == 1 and unicodedata.category(word) == "Sc") or word in _CODES or word.lower() in _WORDS
