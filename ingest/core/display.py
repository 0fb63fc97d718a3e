"""Output to stdout and stderr: no text, written here or by a library, controls the terminal.

Colours and bars are written as escape sequences by `echo` and by `console` alone. All other text is escaped, first by
these two, which know where a line ends, and last by `guard`, which sees all that this process writes.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

from ingest.core import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.text import Text

_RESET = "\x1b[0m"


class Coloured(NamedTuple):
    """A text of ours in a colour, an ANSI sequence, on terminals."""

    text: str
    colour: str


def in_green(text: str) -> Coloured:
    """Return a text in green."""
    return Coloured(text, "\x1b[32m")


def in_red(text: str) -> Coloured:
    """Return a text in bold red."""
    return Coloured(text, "\x1b[31;1m")


def echo(*parts: str | Coloured, err: bool = False) -> None:
    """Write one line to stdout, or to stderr; a line break in a part is shown as an escape."""
    stream = _stream(err=err)
    in_colour = (
        stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )
    shown = []
    for part in parts:
        if isinstance(part, str):
            shown.append(escape.line(part))
        else:
            text = escape.line(part.text)
            shown.append(f"{part.colour}{text}{_RESET}" if in_colour else text)
    _write("".join(shown) + "\n", stream)


def echo_json(content: Any, indent: int | None = 2) -> None:
    """Write a value to stdout as JSON."""
    stream = _stream()
    _write(escape.json_text(content, indent, ascii_only=not _is_utf8(stream)) + "\n", stream)


def echo_long_json(content: dict[str, Any], name: str, items: Iterable[Any]) -> None:
    """Write an object to stdout as JSON, and as its last member a list, an item a line: there may be millions."""
    stream = _stream()
    ascii_only = not _is_utf8(stream)
    start = escape.json_text({**content, name: []}, 2, ascii_only=ascii_only).removesuffix("]\n}")
    separator = "\n    "
    _write(start, stream)
    for item in items:
        _write(separator + escape.json_text(item, ascii_only=ascii_only), stream)
        separator = ",\n    "
    _write("\n  ]\n}\n", stream)


def echo_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to stdout as CSV, with a header."""
    stream = _stream()
    buffer = io.StringIO()
    table = csv.writer(buffer)  # ends its lines in CR LF, because only then it puts quotes around a CR in a cell
    for row in (names, *rows):
        table.writerow([escape.csv_cell(cell) for cell in row])
        _write(buffer.getvalue().removesuffix("\r\n") + "\n", stream)
        buffer.seek(0)
        buffer.truncate()


def console(*, err: bool = False, width: int | None = None) -> Console:
    """Return a console of rich on stdout, or on stderr, that shows strings as they are: no markup, no emoji codes."""
    from rich.console import Console

    class PlainConsole(Console):
        def render_str(self, text: str, **look: Any) -> Text:
            """Return a string, such as a table's cell, to be shown."""
            return super().render_str(escape.line(text), **look)

    return PlainConsole(
        file=_stream(err=err), stderr=err, width=width, markup=False, emoji=False, highlight=False
    )  # fmt: skip


def terminal_columns() -> int:
    """Return the width of the terminal behind stdout; 0 if stdout is no terminal, or has no size."""
    stream = _stream()
    return os.get_terminal_size(stream.fileno()).columns if stream is not None and stream.isatty() else 0


def is_terminal(*, err: bool = False) -> bool:
    """Return whether stdout, or stderr, is a terminal."""
    stream = _stream(err=err)
    return stream is not None and stream.isatty()


class PrintableStream:
    """A text stream that escapes what a terminal would obey, whoever writes to it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text with its lines."""
        self.stream.write(_encodable(escape.lines(text), self.stream))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guard() -> Iterator[None]:
    """Escape all that is written to stdout and stderr while the block runs: warnings, logs and tracebacks too."""
    before = sys.stdout, sys.stderr
    guarded = [None if stream is None else cast("TextIO", PrintableStream(stream)) for stream in before]
    sys.stdout, sys.stderr = guarded  # a program without a console has none
    try:
        yield
    finally:
        if sys.stdout is guarded[0]:  # else Click has replaced it, because the reader has gone
            sys.stdout = before[0]
        if sys.stderr is guarded[1]:
            sys.stderr = before[1]


@contextmanager
def divert(path: Path) -> Iterator[None]:
    """Write to a file what anybody but this module prints while the block runs: a library's lines are not our output.

    What was opened on stdout or stderr before, such as a log, stays there.
    """
    before = sys.stdout, sys.stderr
    with path.open("a", encoding="utf-8", buffering=1) as file:
        sys.stdout, sys.stderr = (
            cast("TextIO", _DivertedStream(_stream(err=err), file)) for err in (False, True)
        )  # fmt: skip
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _DivertedStream(PrintableStream):
    """A stream of ours, whose text from others goes into a file."""

    def __init__(self, stream: TextIO | None, file: TextIO) -> None:
        self.stream = cast("TextIO", stream)  # None for a program without a console, as `_stream` says
        self._file = file

    def write(self, text: str) -> int:
        """Write a text with its lines into the file."""
        return 0 if self._file.closed else self._file.write(escape.lines(text))

    def flush(self) -> None:
        """Do nothing: the file is flushed at each line."""


def _stream(*, err: bool = False) -> TextIO | None:
    """Return stdout or stderr as it is beneath `guard`; None for a program without a console."""
    stream: Any = sys.stderr if err else sys.stdout
    return stream.stream if isinstance(stream, PrintableStream) else stream


def _write(text: str, stream: TextIO | None) -> None:
    if stream is not None:
        stream.write(_encodable(text, stream))
        stream.flush()


def _encodable(text: str, stream: TextIO) -> str:
    """Return a text with escapes for characters that the stream's encoding lacks."""
    if _is_utf8(stream):
        return text
    return text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)


def _is_utf8(stream: TextIO | None) -> bool:
    name = getattr(stream, "encoding", None) or "utf-8"
    return name.lower().replace("_", "-") in ("utf-8", "utf8")
