"""`--help` says what there is to say, at once, and a slip of the hand is met with a suggestion."""

from __future__ import annotations

import pytest
from support.shop import COMMAND, ROOT, Ended, run_in

COMMANDS = ["run", "embed", "export", "fetch", "search", "recommend", "evaluate", "status", "doctor"]
GROUPS = {
    "run": ["Catalog:", "Pictures:", "Model:", "Milvus:", "Places:", "Outcome:"],
    "embed": ["Catalog:", "Pictures:", "Model:", "Places:", "Outcome:"],
    "export": ["Catalog:", "Model:", "Places:", "Outcome:"],
    "fetch": ["Catalog:", "Pictures:", "Places:", "Outcome:"],
    "status": ["Places:", "Outcome:"],
    "recommend": ["Query:", "Choice:", "All:", "Pictures:", "Milvus:", "Places:", "Outcome:"],
    "evaluate": ["Evaluation:", "Milvus:", "Places:", "Outcome:"],
    "search": ["Query:", "Model:", "Milvus:", "Places:", "Outcome:"],
    "doctor": ["Catalog:", "Model:", "Milvus:", "Places:", "Outcome:"],
}


def ingest(*arguments: str) -> Ended:
    return run_in(ROOT, [COMMAND, *arguments])


def test_the_commands_stand_in_sections_with_what_they_do() -> None:
    ended = ingest("--help")

    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if line in {"Fill:", "Ask:", "Check:"}] == [
        "Fill:",
        "Ask:",
        "Check:",
    ]
    assert all(any(line.split()[:1] == [name] for line in ended.out.splitlines()) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_options_in_groups(command: str) -> None:
    ended = ingest(command, "--help")
    headings = [line for line in ended.out.splitlines() if line.endswith(":") and not line.startswith(" ")]

    assert (ended.code, ended.err) == (0, "")
    assert [heading for heading in headings if heading in GROUPS[command]] == GROUPS[command]


@pytest.mark.parametrize("arguments", [[], ["search"]])
def test_examples_stand_on_lines_of_their_own(arguments: list[str]) -> None:
    lines = ingest(*arguments, "--help").out.splitlines()

    assert '  ingest search "red striped mug"' in lines


def test_help_imports_nothing_heavy() -> None:
    ended = run_in(ROOT, [COMMAND, "run", "--help"], PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}

    assert "click" in imported
    assert not imported & {"torch", "transformers", "pymilvus", "faiss", "pandas", "numpy", "requests", "rich.progress"}


def test_a_slip_of_the_hand_is_met_with_a_suggestion() -> None:
    ended = ingest("serach", "mug")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("No such command 'serach'. Did you mean search?\n")


def test_a_word_unlike_any_command_is_met_with_all_of_them() -> None:
    ended = ingest("zzz")

    assert ended.code == 2
    assert all(name in ended.err for name in COMMANDS)


def test_a_wrong_option_is_met_with_the_right_one() -> None:
    ended = ingest("run", "--catalogue", "products.csv")

    assert ended.code == 2
    assert "--catalog" in ended.err.splitlines()[-1]
