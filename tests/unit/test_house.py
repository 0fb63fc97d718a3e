"""The house itself: what --help costs, what a wheel carries, and how large a file may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from support.heavy_imports import HEAVY

import ingest
from ingest.cli import main

PACKAGE = Path(ingest.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
HELP = """
import sys
from ingest.cli.main import _COMMANDS, main
for arguments in [["--help"], ["--version"], ["no-such-command"], *([name, "--help"] for name in _COMMANDS)]:
    try:
        main(arguments)
    except SystemExit as end:
        print(end.code, *arguments, *sorted(sys.modules), file=sys.stderr)
"""


def test_help_of_every_command_answers_without_a_heavy_import():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    told = [line.split() for line in done.stderr.splitlines() if line[:1].isdigit()]
    assert [words[:2] for words in told] == [
        ["0", "--help"], ["0", "--version"], ["2", "no-such-command"], *(["0", name] for name in main._COMMANDS)
    ]  # fmt: skip
    for _, command, *imported in told:
        assert HEAVY & {name.partition(".")[0] for name in imported} == set(), command


def test_a_wheel_carries_the_contract_and_finds_it_where_it_is_installed(tmp_path):
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("ingest-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "ingest/_schema/products.toml" in names
    page = PACKAGE / "server" / "static"
    assert {f"ingest/server/static/{path.name}" for path in page.iterdir()} <= set(names)
    target = tmp_path / "target"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, capture_output=True)
    ask = "from ingest.core import contract_file as c; print(c.default_path()); print(c.load(c.default_path()).alias)"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env={"PYTHONPATH": str(target)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [str(target / "ingest" / "_schema" / "products.toml"), "products"]
    assert (target / "ingest" / "_schema" / "products.toml").read_bytes() == (
        ROOT / "schema" / "products.toml"
    ).read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_in_its_first_line_what_it_is_for_and_fits_in_300(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_the_plan_of_the_house_names_every_module():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    plan = page.split("## The house\n", 1)[1].split("    schema/ ", 1)[0]
    told = Counter(re.findall(r"\w+\.py\b", plan))
    assert told == Counter(path.name for path in FILES if path.name != "__init__.py")


WRITERS = re.compile(
    r"print|input|"
    r"click\.(echo|secho|style|prompt|confirm|pause|progressbar|echo_via_pager|get_(text|binary)_stream)|"
    r"([\w.]+\.)?Console|rich\.(print|print_json|get_console)|"
    r"sys\.(stdout|stderr|__stdout__|__stderr__)(\..*)?|os\.write|"
    r"logging\.(StreamHandler|basicConfig|FileHandler)|traceback\.print_\w+|warnings\.warn|"
    r"csv\.(writer|DictWriter)"
)
"""What writes text, past the escapes of `core/display.py` and `core/escape.py`."""
ALLOWED = {
    ("cli/output/terminal.py", "click.confirm"): 1,  # of an escaped question
    ("cli/interrupts.py", "os.write"): 1,  # constants, in a signal handler
    ("images/cache/sources.py", "os.write"): 1,  # records of digests, into its own file
    ("pipeline/report.py", "csv.writer"): 2,  # of escaped cells
}
IN_JSON = ("cli", "pipeline/report.py", "server")
"""Where JSON is made for people, by `escape.json_text` alone."""


def test_nothing_is_written_past_the_module_that_escapes_it():
    """Use `display.echo`, `display.echo_json`, `display.echo_csv` or `display.console`, and `escape` for files."""
    found = Counter()
    for path in [*FILES, ROOT / "scripts" / "build_faiss_index.py", ROOT / "generate_image_embeddings.py"]:
        name = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
                used = [ast.unparse(node)]
            else:
                used = [f"{node.module}.{one.name}" for one in node.names] if isinstance(node, ast.ImportFrom) else []
            for use in used:
                as_json = use in ("json.dumps", "json.dump") and name.startswith(IN_JSON)
                found[name, use] += as_json or WRITERS.fullmatch(use) is not None
    assert {use: count for use, count in found.items() if count and use[0] != "core/display.py"} == ALLOWED
