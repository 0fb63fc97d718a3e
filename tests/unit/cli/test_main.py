"""The one error boundary: every failure is a line and an exit code, and no token is ever shown."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from ingest.cli import main as module
from ingest.cli.main import main
from ingest.core import errors
from ingest.core.errors import IngestError

SECRET = "s3cr3t-w0rd"


def every_error() -> list[type[IngestError]]:
    def below(kind: type[IngestError]) -> list[type[IngestError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    return [kind for kind in below(IngestError) if kind.__module__ == errors.__name__]


@pytest.fixture
def failing(monkeypatch, capsys):
    """Run a command that raises; return the exit code, stdout and stderr."""

    def run(error: BaseException) -> tuple[int, str, str]:
        @click.command("fail")
        def command() -> None:
            raise error

        monkeypatch.setitem(sys.modules, "a_failing_command", SimpleNamespace(command=command))
        monkeypatch.setitem(module._COMMANDS, "fail", ("a_failing_command", "Fail.", "Fill"))
        with pytest.raises(SystemExit) as caught:
            main(["fail"])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run


def ran(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingest", *arguments], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_each_error_is_one_line_and_its_exit_code(failing, kind):
    code, out, err = failing(kind("c.csv line 3: no id;\n  give it one"))
    assert (code, out, err) == (kind.exit_code, "", "ingest: c.csv line 3: no id; give it one\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130_and_says_how_to_go_on(failing, error):
    code, out, err = failing(error)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "ingest: interrupted; run the same command again to go on"
    assert "Traceback" not in err


def test_a_mistake_in_usage_is_2(failing):
    code, _, err = failing(click.UsageError("Give one of them."))
    assert code == 2
    assert err.endswith("Error: Give one of them.\n")


def test_a_bug_leaves_its_traceback_in_a_file_and_not_on_the_terminal(failing, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("MILVUS_TOKEN", SECRET)
    code, out, err = failing(ZeroDivisionError("oh\nno"))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "ingest: internal error: ZeroDivisionError: oh no"
    assert len(err.splitlines()) == 2
    (log,) = tmp_path.glob("ingest-*.log")
    assert str(log) in err
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_a_bugs_traceback_does_not_carry_the_token(failing, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for variable in ("MILVUS_TOKEN", "INGEST_TOKEN"):
        monkeypatch.setenv(variable, SECRET)
        failing(ZeroDivisionError(f"refused with {SECRET}"))
    logs = list(tmp_path.glob("ingest-*.log"))
    assert len(logs) == 2
    assert all(SECRET not in log.read_text(encoding="utf-8") for log in logs)


def test_a_misspelt_command_is_told_the_near_one(capsys):
    every = (
        "Commands: init, run, plan, embed, export, fetch, search, recommend, evaluate, serve, status, verify, doctor, "
        "models, collections, store, rollback."
    )
    for word, hint in (("serach", "Did you mean search?"), ("zzz", every)):
        with pytest.raises(SystemExit) as caught:
            main([word])
        assert caught.value.code == 2
        assert f"No such command '{word}'. {hint}" in capsys.readouterr().err


def test_a_misspelt_option_is_told_the_near_one(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--catalgo", "c.csv"])
    assert caught.value.code == 2
    assert "--catalog" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in module._COMMANDS)])
def test_help_is_there_for_every_command(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: ingest")
    assert "\\b" not in out, "Click's mark for text as it stands"


def test_a_reader_that_has_gone_is_no_error(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "ingest", "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="command lines are read from Linux' /proc")
@pytest.mark.parametrize("flags", [["--token", SECRET], [f"--token={SECRET}"]])
def test_a_token_given_as_a_flag_is_gone_from_the_command_line_at_once(tmp_path, flags):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and never answers
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "ingest", "search", "mug", *flags, "--uri", uri], cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            proc = Path(f"/proc/{process.pid}")
            deadline = time.monotonic() + 20
            line = SECRET
            while (SECRET in line or "search" not in line) and time.monotonic() < deadline:
                time.sleep(0.02)
                line = (proc / "cmdline").read_bytes().decode()  # empty while the process starts again
            variables = (proc / "environ").read_bytes().decode().split("\0")
            process.kill()
    assert SECRET not in line
    assert line.split("\0")[-5:] == ["search", "mug", "--uri", uri, ""]
    assert f"INGEST_TOKEN={SECRET}" in variables


def test_a_token_that_follows_two_dashes_is_a_text_to_search_for(tmp_path):
    done = ran("search", "--uri", "none.db", "--", "--token", folder=tmp_path)
    assert done.returncode == 5
    assert done.stderr == "ingest: none.db: no such Milvus Lite file; fill it with: ingest run, or pass --uri\n"


def test_a_token_without_a_value_is_a_mistake_in_usage(tmp_path):
    done = ran("search", "mug", "--token", folder=tmp_path)
    assert done.returncode == 2
    assert "requires an argument" in done.stderr


def test_an_error_about_a_server_shows_no_secret(tmp_path):
    uri = f"http://root:{SECRET}@127.0.0.1:9/nowhere.txt"
    done = ran("search", "mug", "--max-wait", "0", "--uri", uri, "--token", f"root:{SECRET}2", folder=tmp_path)
    assert done.returncode == 5
    assert SECRET not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
