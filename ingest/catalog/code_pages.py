"""In which code page text that is not UTF-8 makes sense: words of a language, with capitals where words have them.

A detector that always names its best guess (charset-normalizer) takes a German catalog of two lines for Mac Central
European. Here a code page is believed only if it is far more likely than every other that gives another text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ingest.catalog.alphabets import ALPHABETS, FINAL_FORMS

if TYPE_CHECKING:
    from collections.abc import Iterable

CODE_PAGES: dict[str, float] = {
    **dict.fromkeys(("windows-1252", "windows-1250", "windows-1251", "windows-1253", "windows-1254", "windows-1255",
                     "windows-1256", "windows-1257"), 0.0),
    **dict.fromkeys(("iso-8859-1", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15"), -1.0),
    **dict.fromkeys(("koi8-r", "koi8-u", "cp850", "cp852", "cp866"), -2.0),
    "mac-roman": -3.0, "mac-latin2": -4.0,
}  # fmt: skip
"""The code pages that are looked at, and how common each is, as a natural logarithm; of those that give the same text
the first is named."""
_LANGUAGES = 4  # that a catalog may have together
MARGIN = 6.0
"""How much more likely the best must be than the next, as a natural logarithm: 400 times."""
RUN = re.compile(rb"[A-Za-z0-9\x80-\xff]*[\x80-\xff][A-Za-z0-9\x80-\xff]*")
"""A word with a byte that is not ASCII."""
TOKEN = re.compile(rb"[^\s,;|\"<>]*[\x80-\xff][^\s,;|\"<>]*")
"""The same with what may be a half of a character in a code page of two bytes."""

_SYMBOLS = frozenset("€£¥§°²³¹½¼¾×÷·•®™©«»¡¿‰“”„‘’‚–—…‹›±†µª\xba№´\xa0\xad")
_WITHIN = frozenset("’‘·´–—…\xad")  # between two letters: l’été
_NOT_BESIDE = frozenset("€£¥§½¼¾‰№")  # a letter
_OPENING = frozenset("¡¿„µ")  # not after a letter
_SYMBOL, _BESIDE_SYMBOL, _BESIDE_DIGIT, _UNKNOWN, _ANOTHER = (
    -2.0,
    -4.0,
    -4.0,
    -9.0,
    -3.0,
)  # of the likelihood, as natural logarithms


_TWO_BYTES = {"cp932": "euc_jp", "gb18030": "gb2312", "big5": "big5", "cp949": "euc_kr"}
"""Code pages of East Asia, and the character set that has the common ones of their characters."""
_FIRST_LEVEL = {"euc_jp": (0xA1, 0xCF), "gb2312": (0xA1, 0xD7), "big5": (0xA1, 0xC6), "euc_kr": (0xA1, 0xC8)}
_COMMON, _RARE = -6.0, -12.0  # of the likelihood of such a character


class Reading(NamedTuple):
    """The words of a file in a code page, and how likely they are, as a natural logarithm."""

    code_page: str
    words: tuple[str, ...]
    likelihood: float


def find_readings(runs: Iterable[bytes]) -> list[Reading]:
    """Return the code pages in which each of these distinct words is possible, the likeliest first.

    Of code pages that give the same words there is one.
    """
    ordered = sorted(runs)
    found: dict[tuple[str, ...], Reading] = {}
    for code_page, common in CODE_PAGES.items():
        try:
            words = tuple(run.decode(code_page) for run in ordered)
        except UnicodeDecodeError:
            continue
        if words not in found and (score := _likelihood(words)) is not None:
            found[words] = Reading(code_page, words, score + common)
    return sorted(found.values(), key=lambda reading: -reading.likelihood)


def find_two_byte_readings(tokens: Iterable[bytes]) -> list[Reading]:
    """Return the code pages of East Asia in which each of these distinct tokens is possible, the likeliest first."""
    found = []
    ordered = sorted(tokens)
    for code_page, common in _TWO_BYTES.items():
        try:
            words = tuple(token.decode(code_page) for token in ordered)
        except UnicodeDecodeError:
            continue
        scores = [_judge_two_bytes(word, common) for word in words]
        if None not in scores:
            found.append(Reading(code_page, words, sum(filter(None, scores))))
    return sorted(found, key=lambda reading: -reading.likelihood)


def names(runs: Iterable[bytes], reading: Reading) -> set[str]:
    """Return all code pages that give the words of a reading."""
    ordered = sorted(runs)
    same = set()
    for code_page in CODE_PAGES:
        try:
            if tuple(run.decode(code_page) for run in ordered) == reading.words:
                same.add(code_page)
        except UnicodeDecodeError:
            continue
    return same


def _likelihood(words: Iterable[str]) -> float | None:
    """Return how likely words are, as a natural logarithm; None if one of them is no word of any language."""
    letters: Counter[str] = Counter()
    score = 0.0
    for word in words:
        if (of_word := _judge(word, letters)) is None:
            return None
        score += of_word
    return score + _of_languages(letters)


def _judge(word: str, letters: Counter[str]) -> float | None:
    """Count a word's letters that are not ASCII, and return what else says of it; None if it is impossible."""
    score, scripts = 0.0, {"LATIN"} if re.search("[A-Za-z]", word) else set()
    for at, character in enumerate(word):
        if character.isascii():
            continue
        before, after = word[at - 1] if at else "", word[at + 1 : at + 2]
        if character in _SYMBOLS:
            if not _is_placed(character, before, after):
                return None
            score += _SYMBOL + _BESIDE_SYMBOL * (after in _SYMBOLS)
            continue
        if not character.isalpha() or not _is_cased(character, before, after) or _is_final(character, after):
            return None
        scripts.add(unicodedata.name(character, "?").partition(" ")[0])
        score += _BESIDE_DIGIT * ((before + after).isalnum() and any(map(str.isdigit, before + after)))
        letters[character.lower()] += 1
    return score if len(scripts) < 2 else None


def _judge_two_bytes(word: str, charset: str) -> float | None:
    """Return how likely a word is in which each character that is not ASCII is one of East Asia's; None if not so."""
    score = 0.0
    for at, character in enumerate(word):
        if character.isascii():
            continue
        before, after = word[at - 1 : at] if at else "", word[at + 1 : at + 2]
        alone = before.isascii() and after.isascii() and before.isalpha() and after.isalpha()
        if alone or unicodedata.east_asian_width(character) not in ("W", "F", "H"):
            return None
        try:
            lead = character.encode(charset)[0]
        except UnicodeEncodeError:
            lead = 0
        first, last = _FIRST_LEVEL[charset]
        score += _COMMON if first <= lead <= last and character.isalpha() else _RARE
    return score


def _is_placed(symbol: str, before: str, after: str) -> bool:
    beside = before.isalpha(), after.isalpha()
    if symbol in _NOT_BESIDE:
        return not any(beside)
    if symbol in _OPENING:
        return not beside[0]
    return symbol in _WITHIN or not all(beside)


def _is_cased(letter: str, before: str, after: str) -> bool:
    """Return whether a letter is upper or lower case as its neighbours allow: not grÜn, KüCHE or KÅche."""
    if letter.isupper():
        return not before.islower() and not (before.isupper() and after.islower())
    return not (before.isupper() and after.isupper())


def _is_final(letter: str, after: str) -> bool:
    return letter in FINAL_FORMS and after.isalpha()


def _of_languages(letters: Counter[str]) -> float:
    """Return how likely letters are in the few languages that explain them best, found one after the other."""
    chosen: list[dict[str, float]] = []
    best = _UNKNOWN * letters.total()
    while len(chosen) < _LANGUAGES:
        tried = [(_in_languages(letters, [*chosen, _frequencies(one)]), one) for one in ALPHABETS]
        score, language = max(tried)
        score += _ANOTHER * len(chosen)
        if chosen and score <= best:
            break
        best = score
        chosen.append(_frequencies(language))
    return best


def _in_languages(letters: Counter[str], languages: list[dict[str, float]]) -> float:
    score = 0.0
    for letter, count in letters.items():
        share = sum(language.get(letter, 0.0) for language in languages) / len(languages)
        score += count * (math.log(share) if share else _UNKNOWN)
    return score


@cache
def _frequencies(language: str) -> dict[str, float]:
    """Return a language's letters with their shares, by their rank."""
    letters = ALPHABETS[language]
    total = sum(1 / rank for rank in range(1, len(letters) + 1))
    return {letter: 1 / rank / total for rank, letter in enumerate(letters, 1)}
