"""Invisible characters: which of them change how a text looks, and texts without those at the ends."""

from __future__ import annotations

import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and the marks of interlinear annotations
CLASS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""All of them, as the inside of a regular expression's character class."""
_INVISIBLE = re.compile(f"[{CLASS}]")
_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # the combining class of signs that join letters in Indic scripts
_KEYCAP = "\u20e3"
_EMOJI_STYLE, _TAG_END = "\ufe0f", "\U000e007f"  # what may stand between an emoji and a joiner
_WITH_VARIANTS = ("Lo", "Po", "Pd")  # categories of characters that have variants, besides emoji
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")  # a region's flag: a black flag and tags
_FLAG_LENGTH = 32  # characters; a region has at most 6 tags and their end


def may_have(text: str) -> bool:
    """Return whether a text may have invisible characters; otherwise `find_first` and `strip` change nothing."""
    return not text.isascii() and _INVISIBLE.search(text) is not None


def find_first(text: str) -> str | None:
    """Return the first invisible character of a text that does not belong there, as U+XXXX and its name, or None.

    Some do belong, because they change how the text looks: joiners in emoji and in scripts that need them, variant
    selectors after a character, tags in the flags of regions.
    """
    for found in _INVISIBLE.finditer(text):
        if not shapes(text, found.start()):
            character = found.group()
            return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
    return None


def strip(text: str) -> str:
    """Return a text without whitespace and invisible characters at its ends, except those that change how it looks."""
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or _INVISIBLE.match(text[start])):
        start += 1
    while start < end and (
        text[end - 1].isspace() or (_INVISIBLE.match(text[end - 1]) and not shapes(text[:end], end - 1))
    ):
        end -= 1
    return text[start:end]


def shapes(text: str, at: int) -> bool:
    """Return whether the invisible character at a position changes how the characters around it look."""
    before, character, after = text[at - 1 : at], text[at], text[at + 1 : at + 2]
    if not before:
        return False
    if character in (_JOINER, _NON_JOINER):
        return _joins(before, after, character)
    if "\ufe00" <= character <= "\ufe0f":
        return after == _KEYCAP or _is_pictorial(before) or unicodedata.category(before) in _WITH_VARIANTS
    if "\U000e0100" <= character <= "\U000e01ef" or "\u180b" <= character <= "\u180d":
        return unicodedata.category(before) == "Lo"
    if not "\U000e0020" <= character <= _TAG_END:
        return False
    flag = _FLAG.match(text, max(text.rfind("\U0001f3f4", max(at - _FLAG_LENGTH, 0), at), 0))
    return flag is not None and flag.end() > at


def _joins(before: str, after: str, joiner: str) -> bool:
    # RFC 5892, appendix A, allows the same two contexts in scripts, and none for emoji, which no domain may have.
    if not after:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if joiner == _NON_JOINER:
        return unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
    return (_is_pictorial(before) or before in (_EMOJI_STYLE, _TAG_END)) and _is_pictorial(after)


def _is_pictorial(character: str) -> bool:
    """Return whether a character is part of an emoji; by block if it is newer than Python's tables."""
    return not character.isascii() and (
        unicodedata.category(character) in ("So", "Sk", "Sm") or "\U0001f000" <= character <= "\U0001ffff"
    )
