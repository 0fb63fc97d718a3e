"""Which encoding a text file is in: UTF-8 or UTF-16 if its bytes are that, else the one code page that makes sense."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

from ingest.catalog import code_pages
from ingest.catalog.source import HEAD
from ingest.core.errors import AmbiguousCatalogError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ingest.catalog.options import ReadOptions
    from ingest.catalog.source import CatalogSource

_CHUNK = 1 << 20
_MAX_WORDS = 20_000  # distinct words that are looked at
_HEAD = 1 << 12  # bytes in which zeros show UTF-16 without a byte order mark
_BOMS = (
    (codecs.BOM_UTF8, "UTF-8 with a byte order mark", "utf-8"),
    (codecs.BOM_UTF32_LE, "UTF-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "UTF-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16-be"),
)


class Encoding(NamedTuple):
    """An encoding: its name for people, Python's codec, and the bytes of the byte order mark before the text."""

    name: str = "UTF-8"
    codec: str = "utf-8"
    bom: int = 0

    @property
    def is_utf8(self) -> bool:
        """Whether it is UTF-8, with or without a byte order mark."""
        return self.codec == "utf-8"


UTF8 = Encoding()


class ByteFacts(NamedTuple):
    """What one pass over the bytes of a text shows: its encoding, and whether a quote follows a backslash anywhere."""

    encoding: Encoding
    has_escaped_quote: bool


def examine(source: CatalogSource, options: ReadOptions, *, may_be_code_page: bool = True) -> ByteFacts:
    """Return the encoding of a text, and what else its bytes show; of a large remote file only the beginning is read.

    Raises AmbiguousCatalogError if it may be in two code pages that give different words. A text that makes sense in
    none is taken for UTF-8, and whoever reads it meets the byte that is not.
    """
    found = _by_first_bytes(source.head[:_HEAD], options)
    wide = found is not None and found.codec.startswith(("utf-16", "utf-32"))
    escaped = '\\"'.encode(found.codec if found is not None and wide else "utf-8")
    has_escaped_quote, is_utf8 = False, True
    decoder = codecs.getincrementaldecoder("utf-8")()
    tail = b""
    for chunk in _chunks(source):
        has_escaped_quote = has_escaped_quote or escaped in tail + chunk
        tail = chunk[1 - len(escaped) :]
        if found is None and is_utf8:
            is_utf8 = _is_utf8(decoder, chunk)
    if found is None:
        found = UTF8 if is_utf8 or not may_be_code_page else _code_page(source, options)
    return ByteFacts(found, has_escaped_quote)


def _by_first_bytes(head: bytes, options: ReadOptions) -> Encoding | None:
    """Return the encoding that the options name, or that the first bytes show."""
    for bom, name, codec in _BOMS:
        if head.startswith(bom) and (not options.encoding or _may_be(options.encoding, codec)):
            return Encoding(name, codec, len(bom))
    if options.encoding:
        codec = codecs.lookup(options.encoding).name
        return UTF8 if codec in ("utf-8", "utf-8-sig") else Encoding(options.encoding, codec)
    even, odd = head[: len(head) // 2 * 2 : 2], head[1::2]
    for codec, zeros, letters in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if len(zeros) > 3 and zeros.count(0) * 2 > len(zeros) and not letters.count(0):
            return Encoding("UTF-16 without a byte order mark", codec)
    return None


def _example(tokens: Collection[bytes], one: str, other: str) -> tuple[str, str] | None:
    """Return a word as two code pages have it; None if they have all words alike."""
    pairs = ((token.decode(one, "replace"), token.decode(other, "replace")) for token in sorted(tokens))
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def _collect(text: bytes, words: set[bytes], tokens: set[bytes]) -> None:
    if not text.isascii() and len(words) < _MAX_WORDS:
        words.update(code_pages.RUN.findall(text))
        tokens.update(code_pages.TOKEN.findall(text))


def _is_damaged_utf8(words: Collection[bytes]) -> bool:
    """Return whether most words are UTF-8, so that the others are damaged, and not in a code page."""
    valid = sum(word.decode(errors="ignore").encode() == word for word in words)
    return 2 * valid > len(words)


def _may_be(named: str, codec: str) -> bool:
    """Return whether a codec that somebody names, such as utf-16, is the one that a byte order mark shows."""
    name = codecs.lookup(named).name
    return codec.startswith(name.removesuffix("-sig"))


def _is_utf8(decoder: codecs.IncrementalDecoder, chunk: bytes) -> bool:
    if chunk.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError:
        return False
    return True


def _chunks(source: CatalogSource) -> Iterator[bytes]:
    """Yield the bytes of a text; of a file that is expensive to read, only the first."""
    if len(source.head) < HEAD or not source.file.is_local:
        yield source.head
        return
    with source.open() as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _code_page(source: CatalogSource, options: ReadOptions) -> Encoding:
    """Return the code page of a text that is not UTF-8."""
    words: set[bytes] = set()
    tokens: set[bytes] = set()
    before = b""
    for chunk in _chunks(source):
        whole, end, before = (before + chunk).rpartition(b"\n")
        _collect(whole + end, words, tokens)
    _collect(before, words, tokens)
    found = code_pages.find_readings(words) + code_pages.find_two_byte_readings(tokens)
    found.sort(key=lambda reading: -reading.likelihood)
    if not found or _is_damaged_utf8(words):
        return UTF8  # whoever reads the text names the line
    best = found[0]
    near = [reading for reading in found[1:] if best.likelihood - reading.likelihood < code_pages.MARGIN]
    last = options.last.encoding if options.last else ""
    as_before = next((reading for reading in found if last in code_pages.names(words, reading)), None)
    if as_before is not None and (as_before is best or as_before in near):
        return Encoding(last, codecs.lookup(last).name)
    for other in near if as_before is None else [as_before]:
        if (example := _example(tokens, best.code_page, other.code_page)) is None:
            continue
        one, two = example
        noted = ", as when it was last read" if as_before is not None else ""
        raise AmbiguousCatalogError(
            f"{source}: is not UTF-8, and has a word that is {one!r} in {best.code_page} and {two!r} in "
            f"{other.code_page}{noted}; pass --encoding {best.code_page} or --encoding {other.code_page}"
        )
    return Encoding(best.code_page, codecs.lookup(best.code_page).name)
