"""What is written to stdout and stderr: a line is a line, colours are ours, and libraries cannot write past it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest
from unit.core.test_escape import ATTACKS, unsafe

from ingest.core import display

WILD = "".join(ATTACKS.values())


def on_a_terminal(program: str, **environment: str) -> str:
    """Run a program whose stdout and stderr are a terminal, and return what it wrote."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment},
    ) as process:  # fmt: skip
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # Linux says so when the last program that had the terminal is gone
                break
        process.wait(60)
    os.close(ours)
    return written.decode()


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_each_call_writes_one_line(capsys, text):
    display.echo("title: ", text)
    display.echo(text, err=True)
    told = capsys.readouterr()
    for written in told:
        assert written.endswith("\n")
        assert unsafe(written[:-1]) == []


def test_colours_are_for_terminals_and_not_wanted_by_all(capsys):
    display.echo(display.in_green("ok"), " \x1b[31mred")
    assert capsys.readouterr().out == "ok \\x1b[31mred\n"

    program = r"from ingest.core import display as d; d.echo(d.in_red('FAIL'), ' \x1b[32mx')"
    assert on_a_terminal(program) == "\x1b[31;1mFAIL\x1b[0m \\x1b[32mx\r\n"
    assert on_a_terminal(program, NO_COLOR="1") == "FAIL \\x1b[32mx\r\n"


def test_json_and_long_json_hold_the_content_and_nothing_to_obey(capsys):
    display.echo_json({WILD: WILD})
    assert json.loads(written := capsys.readouterr().out) == {WILD: WILD}
    assert unsafe(written.replace("\n", "")) == []

    for items in ([], [{"id": WILD}, {"id": 2}]):
        display.echo_long_json({"a": WILD, "b": {}}, "list", items)
        written = capsys.readouterr().out
        assert json.loads(written) == {"a": WILD, "b": {}, "list": items}
        assert unsafe(written.replace("\n", "")) == []


def test_csv_is_read_back_row_by_row(capsys):
    display.echo_csv(["rank", "=name"], [[1, WILD], [-2.5, "=1+1"], [None, "a\rb"]])
    written = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert [row[0] for row in rows] == ["rank", "1", "-2.5", ""]
    assert [row[1] for row in rows][0::2] == ["'=name", "'=1+1"]
    assert len(rows) == 4
    assert unsafe(written.replace("\n", "").replace("\t", "")) == []


def test_a_table_shows_markup_and_emoji_codes_as_they_are(capsys):
    from rich.table import Table

    table = Table("[/x]", "title")
    for text in ("a\\[/red] b", "[bold]x", ":smile:", "\\", *ATTACKS.values()):
        table.add_row("[link=x]", text)
    display.console(width=200).print(table)
    written = capsys.readouterr().out
    assert unsafe(written.replace("\n", "")) == []
    for text in ("[/x]", "a\\[/red] b", "[bold]x", ":smile:", "[link=x]", "\\x1b]52;c;cm0gLXJm\\x07", "\\u202egpj.exe"):
        assert text in written


LIBRARIES = r"""
import logging, sys, threading, warnings
from ingest.core import display
WILD = {wild!a}
def fail():
    raise ValueError(WILD)
with display.guard():
    sys.stdout.write(WILD)
    sys.stderr.writelines([WILD, "\n"])
    print("printed", WILD)
    warnings.warn("warned " + WILD)
    logging.getLogger("a.library").warning("logged %s", WILD)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
print("\x1b[0mended")
"""


def test_what_libraries_write_is_escaped_too():
    """Warnings, logs without a handler, and the traceback of a thread go to stderr by themselves."""
    done = subprocess.run([sys.executable, "-c", LIBRARIES.format(wild=WILD)], capture_output=True, check=True)
    out, end, _ = done.stdout.decode().partition("\x1b[0mended\n")
    err = done.stderr.decode()
    assert end, "the streams come back"
    for written, marks in ((out, ["printed"]), (err, ["UserWarning: warned", "logged", "ValueError"])):
        assert unsafe(written.replace("\n", "")) == []
        for mark in marks:
            assert f"{mark} \\x1b[31mred" in written or f"{mark}: \\x1b[31mred" in written


def test_a_program_without_a_console_writes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with display.guard():
        display.echo("x")
        display.echo_json({})
        assert not display.is_terminal()
        assert display.terminal_columns() == 0


def test_a_terminal_of_another_encoding_gets_what_it_can_show(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "latin-1"))
    display.echo("ü → ☕")
    display.echo_json({"ü": "☕"})
    with display.guard():
        print("→")  # noqa: T201
        sys.stdout.flush()
    first, rest = raw.getvalue().decode("latin-1").split("\n", 1)
    assert first == r"ü \u2192 \u2615"
    assert json.loads(rest.rpartition("\\u2192")[0]) == {"ü": "☕"}


BARS = r"""
import logging, sys, time
from ingest.cli.output import terminal
from ingest.core import display
from ingest.core.records import Stage
with display.guard(), terminal.follow(quiet=False) as (progress, stop):
    progress.total = 3
    for _ in progress.count(Stage.IMAGES, [1, 2, 3], int):
        logging.getLogger("ingest").warning("%s", "logged \x1b[31m \x9b2J \u202e")
        print("printed \x1b]0;owned\x07", file=sys.stderr)
        time.sleep(0.2)
"""


def test_bars_are_drawn_on_a_terminal_and_lines_beside_them_are_escaped():
    written = on_a_terminal(BARS)
    assert "━" in written, "the bar"
    assert "3/3" in written
    assert "\x1b[?25l" in written, "the cursor is hidden"
    assert "\x1b[?25h" in written, "and comes back"
    assert written.count(r"ingest: logged \x1b[31m \x9b2J \u202e") == 3
    assert r"printed \x1b]0;owned\x07" in written
    assert not {"\x9b", "\u202e", "\x07"} & set(written)
    assert "\x1b]" not in written
