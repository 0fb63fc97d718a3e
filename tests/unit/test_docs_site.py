"""The documentation: what it takes from the code is as the code is, links lead somewhere, and the site is whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from docs_site import blocks, links  # noqa: E402
from docs_site.commands import all_commands  # noqa: E402
from docs_site.settings import options  # noqa: E402

from ingest.cli.main import _COMMANDS  # noqa: E402
from ingest.core import errors  # noqa: E402
from ingest.core.settings import KEYS  # noqa: E402

DOCS = ROOT / "docs"
UNITS = ("ingest.service", "ingest.timer", "ingest-serve.service")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("path", list(blocks.pages()), ids=lambda path: path.name)
def test_what_a_page_takes_from_the_code_is_as_the_code_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert blocks.fill(text) == text, f"{path.name} is out of date: make record"


def test_a_part_that_differs_is_written_again_and_what_is_around_it_stays() -> None:
    text = "before\n\n<!-- made from the code: exit-codes -->\n\nof yesterday\n\n<!-- end -->\n\nafter\n"
    filled = blocks.fill(text)
    assert filled.startswith("before\n")
    assert filled.endswith("<!-- end -->\n\nafter\n")
    assert "of yesterday" not in filled
    assert "| 130 | interrupted" in filled
    assert blocks.fill(filled) == filled


def test_the_page_of_settings_names_every_setting_once_and_its_notes_no_other() -> None:
    text = page("settings.md")
    assert Counter(first_cells(text)) == Counter(KEYS)
    noted = re.findall(r"^- `([a-z_]+)", text, re.MULTILINE)
    assert len(noted) > 10
    assert set(noted) <= {*KEYS, "ingest"}


def test_every_setting_is_a_flag_and_an_environment_variable() -> None:
    for key, option in options().items():
        variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or [])
        assert f"--{key.replace('_', '-')}" in option.opts
        assert f"INGEST_{key.upper()}" in variables


def test_a_table_of_no_settings_is_an_error() -> None:
    with pytest.raises(ValueError, match="no settings below Query"):
        blocks.make("settings Query")


def test_the_page_of_commands_has_every_command_and_subcommand() -> None:
    headings = re.findall(r"^#+ (ingest .+)$", page("commands.md"), re.MULTILINE)
    assert headings == list(all_commands())
    assert {f"ingest {name}" for name in _COMMANDS} | {"ingest store gc", "ingest collections prune"} <= set(headings)


def test_the_page_of_exit_codes_has_those_of_all_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IngestError)]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page("exit-codes.md"), re.MULTILINE)}
    assert told == {0, 2, *(kind.exit_code for kind in kinds)}


def test_the_page_on_http_has_every_request_and_links_to_every_type() -> None:
    text = page("http.md")
    assert {"### POST /v1/search", "### GET /v1/products/{product_id}/picture", "### GET /metrics"} <= set(
        text.splitlines()
    )
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= links.headings(DOCS / "http.md")


@pytest.mark.parametrize("path", links.pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(path: Path) -> None:
    assert list(links.broken(path)) == []


def test_a_link_to_a_file_or_heading_that_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# What `x` does, and why\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    text = (
        "[a](b.md) [b](b.md#what-x-does-and-why) [c](b.md#twice-1) ![d](no.png) [e](b.md#no) [f](#none) [g](https://no.where/)\n"
        "`[h](code.md)`\n\n```text\n[i](code.md)\n```\n"
    )
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert list(links.broken(tmp_path / "a.md")) == ["no.png", "b.md#no", "#none"]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_the_name_of_a_heading_is_one_that_an_address_can_have(title: str) -> None:
    assert re.fullmatch(r"[\w-]*", links.slug(title))
    assert links.slug(links.slug(title)) == links.slug(title)


def test_the_site_is_built_strictly_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("material")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "tutorial.html", "repository/CHANGELOG.html", "repository/schema/index.html"} <= set(pages)
    listing = pages["repository/ingest/core/errors.py.html"]
    assert "InterruptedRunError" in listing
    loaded = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\">\s]+)"
    assert {name: found for name, text in pages.items() if (found := re.findall(loaded, text))} == {}
    assert not any("mermaid" in re.findall(r"class=\"?([\w -]+)", text) for text in pages.values())
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


@pytest.mark.parametrize("name", ["crontab", *UNITS])
def test_the_guide_shows_the_files_for_a_nightly_run(name: str) -> None:
    text = (ROOT / "examples" / "nightly" / name).read_text(encoding="utf-8")
    assert f"(../examples/nightly/{name})" in page("nightly.md")
    assert f"\n{text}```" in page("nightly.md")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_units(name: str, tmp_path: Path) -> None:
    for unit in UNITS:
        text = (ROOT / "examples" / "nightly" / unit).read_text(encoding="utf-8")
        (tmp_path / unit).write_text(text.replace("/srv/ingest/.venv/bin/ingest", "/bin/true"), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert name not in done.stderr, done.stderr


def test_the_command_lines_of_the_nightly_run_are_the_commands_own() -> None:
    files = [(ROOT / "examples" / "nightly" / name).read_text(encoding="utf-8") for name in ("crontab", *UNITS)]
    lines = [line for text in files for line in re.findall(r"/bin/ingest (.+)", text)]
    assert len(lines) == 4
    for line in lines:
        name, *words = line.replace("\\%", "%").replace("%%", "%").split()
        command = all_commands()[f"ingest {name}"]
        command.make_context(name, words, resilient_parsing=False).close()
