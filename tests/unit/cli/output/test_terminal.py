"""How a run is followed and interrupted, and what it says at its end."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import click
import pytest
from support.checkpoints import SAMPLE

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import terminal
from ingest.core.errors import NotLiveError
from ingest.core.records import ImageFile, Product
from ingest.pipeline.report import Summary
from ingest.tasks.run import Outcome

FOLLOWED = """
import time
from ingest.cli.output import terminal
with terminal.follow(quiet=True) as (progress, stop):
    print("following", flush=True)
    print("told" if stop.wait(20) else "not told", flush=True)
    {then}
print("done", flush=True)
"""


def followed(then: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOWED.format(then=then)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "following\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_sets_the_event_and_the_block_ends_by_itself(number):
    with followed("pass") as process:
        process.send_signal(number)
        assert process.stdout.read() == "told\ndone\n"
        assert process.stderr.read() == "\ningest: finishing the work in progress; press again to stop at once\n"
        assert process.wait(20) == 0


def test_the_second_interrupt_ends_the_process_at_once():
    with followed("time.sleep(60)") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "told\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().endswith("stopped at once; run the same command again to go on\n")


def test_the_handlers_that_were_there_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with terminal.follow(quiet=True):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_warning_of_the_library_is_one_line_on_stderr(capsys):
    for _ in range(2):
        terminal.log_to_stderr()
    logging.getLogger("ingest.store.local").warning("a shard is %s", "left out")
    assert capsys.readouterr().err == "ingest: a shard is left out\n"


def test_the_sample_model_is_said_to_be_one_and_no_other(capsys, tiny_clip, tmp_path):
    for model in (str(tiny_clip), "openai/clip-vit-base-patch32", str(tmp_path), "x" * 5000):
        terminal.note_sample(model)
    assert capsys.readouterr() == ("", "")
    marked = shutil.copytree(tiny_clip, tmp_path / "marked")
    config = json.loads((marked / "config.json").read_text(encoding="utf-8"))
    (marked / "config.json").write_text(json.dumps(config | {"ingest_sample": True}))
    terminal.note_sample(str(marked))
    assert "is a sample model that knows only drawn products" in capsys.readouterr().err
    assert SAMPLE.is_dir()


def test_what_to_try_next_can_be_pasted_into_a_shell(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    product = Product("it's", "", {"title": 'a "red" mug; $HOME'}, 2)
    outcome = Outcome(Summary(), {}, ImageFile(product, tmp_path / "pictures" / "a b.jpg", bytes(32)), ())
    terminal.tell_next(outcome, ["--data", "my data"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "search" in line]
    words = [
        subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
        for line in lines
    ]
    queries = [['a "red" mug; $HOME'], ["--product", "it's"], ["--image", str(Path("pictures/a b.jpg"))]]
    assert [line.split("\n")[2:-1] for line in words] == [[*query, "--data", "my data"] for query in queries]


def test_flags_that_were_typed_are_repeated_and_others_are_not(tmp_path, monkeypatch):
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    seen: list[list[str]] = []

    @click.command(cls=help_groups.Command)
    @options.milvus
    @options.data
    @click.pass_context
    def command(ctx: click.Context, /, **values: object) -> None:
        seen.append(typed_flags.explicit_flags(ctx, "uri", "db_name", "data"))

    CliRunner().invoke(command, ["--db-name", "a b", "-d", "x"], env={"INGEST_URI": "http://x"}, catch_exceptions=False)
    assert seen == [["--db-name", "a b", "--data", "x"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_whose_reader_has_gone_is_ended_by_a_signal_all_the_same(number):
    """As by Ctrl-C on `ingest … 2>&1 | tee log`, which ends tee too."""
    program = (
        "import time; from ingest.cli.interrupts import end_at_once; end_at_once(); "
        "print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        process.stderr.close()
        process.send_signal(number)
        assert process.wait(20) == 130


@pytest.mark.parametrize("failure", [None, NotLiveError("not live: too few")])
def test_quiet_is_one_line_and_notes_and_a_run_that_went_wrong_says_why(capsys, failure):
    summary = Summary(products=3, embedded=1, skipped=1, upserted=1, unchanged=1, seconds=2.0, bound_by="decode",
                      reasons={"not found": 1}, examples={"not found": "line 3: a.jpg"})  # fmt: skip
    outcome = Outcome(summary, {"report": "data/runs/1/report.json"}, None, ("kept 1 row",), failure)
    with nullcontext() if failure is None else pytest.raises(NotLiveError):
        terminal.show(outcome, as_json=False, quiet=True)
    line = "3 products: 1 embedded, 1 skipped, 1 upserted, 1 unchanged in 2.0 s (0.5 images/s)"
    why = ["         1 skipped: not found, for example line 3: a.jpg"]
    assert capsys.readouterr().out.splitlines() == [
        *(["not live: too few"] if failure else []), line, *(why if failure else []), "  note: kept 1 row",
    ]  # fmt: skip


def test_a_question_that_nobody_answers_is_a_mistake_in_usage_and_no_is_no(monkeypatch):
    for typed, answer in (("y\n", True), ("n\n", False), ("\n", False)):
        monkeypatch.setattr("sys.stdin", StringIO(typed))
        assert terminal.confirm("Drop?") is answer
    monkeypatch.setattr("sys.stdin", StringIO(""))
    with pytest.raises(click.UsageError, match="pass --yes"):
        terminal.confirm("Drop?")
