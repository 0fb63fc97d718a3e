"""What `ingest embed` refuses before it does anything."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ingest.cli.commands.embed import command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "same", "--meta", "same"], "both name same"),
        (["--output", "same", "--meta", "folder/../same"], "both name same"),
        (["--output", "same", "--meta", "linked"], "both name same"),
        (["--output", "data/embeddings/embedding_metadata.json", "--data", "data"], "both name data"),
        (["--output", "x.npy", "--meta", "x.manifest.json"], "the name of --output's manifest"),
        (["--output", "folder"], "--output folder is a directory"),
        (["--meta", "folder"], "--meta folder is a directory"),
    ],
)
def test_places_that_cannot_hold_the_files_are_a_usage_error_and_nothing_is_done(
    tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "same").write_text("mine")
    (tmp_path / "linked").symlink_to("same")
    monkeypatch.setattr("ingest.tasks.embed.embed", lambda *_: pytest.fail("nothing is to be done"))

    ended = CliRunner().invoke(command, arguments)

    assert ended.exit_code == 2
    assert said in ended.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "linked", "same"]
    assert (tmp_path / "same").read_text() == "mine"
