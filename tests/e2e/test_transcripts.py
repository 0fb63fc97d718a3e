"""What the documentation's transcripts show is what the commands print.

`RECORD=1` (or `make record`) writes what they print now into the pages where that says something else, `RECORD=all`
everywhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.shop import ROOT
from support.transcripts import BLOCK, recorded, replay, settled

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if BLOCK.search(path.read_text(encoding="utf-8"))
]


def test_the_tutorial_is_one_of_the_pages_with_transcripts() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/own-catalog.md"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_transcript_shows_what_the_commands_print(name: str, tmp_path: Path) -> None:
    path = ROOT / name
    page = path.read_text(encoding="utf-8")
    recording = os.environ.get("RECORD", "")
    blocks = replay(page, tmp_path / "ingest", started_anew=bool(recording))
    if recording:
        path.write_text(recorded(page, blocks, anew=recording == "all"), encoding="utf-8")
        return
    for command in (one for block in blocks for one in block):
        assert settled(command.printed) == settled(command.told), f"{name}: $ {command.line} (make record)"
