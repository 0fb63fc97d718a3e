"""`--help` says what there is to say, at once, and a slip of the hand is met with a suggestion."""

from __future__ import annotations

import pytest
from support.shop import COMMAND, ROOT, Ended, run_in

COMMANDS = ["run", "embed", "export", "fetch", "search", "recommend", "evaluate", "status", "doctor"]
ALL = {"run", "embed", "export", "fetch", "search", "recommend", "doctor"}
"""Commands with so many options that --help shows the usual ones."""
GROUPS = {
    "run": ["Catalog:", "Images:", "Model:", "Engine:", "Milvus:", "Folders:", "Removal:", "Output:"],
    "embed": ["Catalog:", "Images:", "Model:", "Folders:", "Output:"],
    "export": ["Catalog:", "Images:", "Model:", "Folders:", "Output:"],
    "fetch": ["Catalog:", "Images:", "Folders:", "Output:"],
    "status": ["Folders:", "Output:"],
    "recommend": ["Query:", "Selection:", "All products:", "Catalog:", "Images:", "Milvus:", "Folders:", "Output:"],
    "evaluate": ["Evaluation:", "Catalog:", "Milvus:", "Folders:", "Output:"],
    "search": ["Query:", "Catalog:", "Images:", "Model:", "Milvus:", "Folders:", "Output:"],
    "doctor": ["Catalog:", "Images:", "Model:", "Milvus:", "Folders:", "Output:"],
}


def ingest(*arguments: str) -> Ended:
    return run_in(ROOT, [COMMAND, *arguments])


def test_the_commands_stand_in_sections_with_what_they_do() -> None:
    ended = ingest("--help")

    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if line in {"Build:", "Search:", "Check:", "Manage:"}] == [
        "Build:",
        "Search:",
        "Check:",
        "Manage:",
    ]
    assert all(any(line.split()[:1] == [name] for line in ended.out.splitlines()) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_options_in_groups(command: str) -> None:
    ended = ingest(command, "--help-all" if command in ALL else "--help")
    headings = [line for line in ended.out.splitlines() if line.endswith(":") and not line.startswith(" ")]

    assert (ended.code, ended.err) == (0, "")
    assert [heading for heading in headings if heading not in {"Options:", "Other:"}] == GROUPS[command]


@pytest.mark.parametrize("arguments", [[], ["search"]])
def test_examples_stand_on_lines_of_their_own(arguments: list[str]) -> None:
    lines = ingest(*arguments, "--help").out.splitlines()

    assert '    ingest search "red striped mug"' in lines


def subcommands() -> list[list[str]]:
    groups = [
        ["collections", "prune"],
        ["store"],
        ["store", "restore"],
        ["store", "info"],
        ["store", "compact"],
        ["store", "gc"],
    ]
    return [[name] for name in [*COMMANDS, "plan", "serve", "verify", "collections", "rollback"]] + groups


@pytest.mark.parametrize("command", subcommands(), ids=" ".join)
def test_every_help_has_an_example_and_fits_80_columns_without_clicks_notation(command: list[str]) -> None:
    lines = ingest(*command, "--help").out.splitlines()

    assert lines[2].startswith("  ")
    assert " ".join(lines[2 : lines.index("  Examples:") - 1]).endswith("."), "a sentence says what it does"
    after = lines[lines.index("  Examples:") + 1 :]
    assert any(f"ingest {' '.join(command)}" in line for line in after[:1]), "an example follows at once"
    assert max(map(len, lines)) <= 80
    assert not any(notation in line for line in lines for notation in ("RANGE", "<=x", "x>="))


def test_the_help_of_run_fits_on_two_screens_and_says_how_to_see_the_rest() -> None:
    short, whole = (ingest("run", option).out.splitlines() for option in ("--help", "--help-all"))
    options = [{line.split()[0] for line in lines if line.startswith("  -")} for lines in (short, whole)]

    assert len(short) < 70 < len(whole)
    assert options[0] < options[1]
    assert short[-1] == f"ingest run --help-all lists {len(options[1]) - len(options[0])} more options."


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
