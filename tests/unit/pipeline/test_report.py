"""The folder of a run: report.json, skipped.csv and changes.csv."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.core.errors import StorageError
from ingest.core.records import Reason, Skipped, Stage
from ingest.pipeline import report
from ingest.pipeline.report import SKIPPED_COLUMNS, RunReport, Summary, finished_runs


def skipped(product_id: str, detail: str = "gone", reason: Reason = Reason.NOT_FOUND) -> Skipped:
    return Skipped(product_id, Stage.IMAGES, reason, detail, 7, "part.csv")


def test_skipped_products_are_written_to_the_table_and_other_records_are_passed_on(tmp_path):
    awkward = skipped('a,"b"\nc', "line one\r\nline two; ü ☕")
    records = [1, skipped("a"), "two", awkward, skipped("b", reason=Reason.TRUNCATED), 3]
    with RunReport(tmp_path / "runs") as folder:
        assert list(folder.keep_skipped(records)) == [1, "two", 3]
        assert folder.skipped == 3
        assert folder.reasons == {"not found": 2, "truncated": 1}
    with (folder.folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(SKIPPED_COLUMNS)
    assert rows[1] == ["a", "images", "not found", "gone", "7", "part.csv"]
    assert rows[2][0] == 'a,"b"\nc'
    assert rows[2][3] == "line one\r\nline two; ü ☕"
    assert len(rows) == 4


def test_an_id_that_utf_8_cannot_encode_is_written_too(tmp_path):
    """JSON Lines can contain a lone surrogate; such a product is skipped, which must not end the run."""
    with RunReport(tmp_path) as folder:
        assert list(folder.keep_skipped([skipped("a\ud800b")])) == []
        folder.write(Summary(), {"catalog": "c\udcff.csv"}, "done")
    assert "a\\ud800b,images" in (folder.folder / "skipped.csv").read_text(encoding="utf-8")
    assert json.loads((folder.folder / "report.json").read_text(encoding="utf-8"))["catalog"] == "c\udcff.csv"


def test_the_report_holds_the_summary_the_outcome_and_the_facts(tmp_path):
    summary = Summary(products=10, embedded=4, seconds=2.0, reasons={"not found": 1})
    with RunReport(tmp_path) as folder:
        folder.write(summary, {"catalog": Path("ü.csv"), "dim": 512}, "done")
    content = json.loads((folder.folder / "report.json").read_text(encoding="utf-8"))
    assert content["outcome"] == "done"
    assert (content["products"], content["embedded"], content["dim"], content["catalog"]) == (10, 4, 512, "ü.csv")
    assert datetime.fromisoformat(content["started"]).tzinfo is not None
    assert summary.pictures_per_second == 2
    assert Summary().pictures_per_second == 0


def test_a_finished_run_is_read_back_and_the_newest_comes_first(tmp_path):
    for outcome in ("done", "interrupted"):
        with RunReport(tmp_path) as folder:
            list(folder.keep_skipped([skipped("a"), skipped("b")]))
            summary = Summary(collection="products_1", served=None)
            folder.count_skipped(summary, "part.csv")
            folder.write(summary, {"alias": "products", "fingerprint": "f", "model": "m"}, outcome)

    newest, oldest = finished_runs(tmp_path)

    assert (newest.outcome, oldest.outcome) == ("interrupted", "done")
    assert (oldest.collection, oldest.served, oldest.alias, oldest.model) == ("products_1", None, "products", "m")
    assert oldest.reasons == {"not found": 2}
    assert summary.examples == {"not found": "line 7: gone"}
    assert [row["product_id"] for row in oldest.read_skipped(1)] == ["a"]


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"started": "2026", "outcome": "done", "reasons": 1}'])
def test_a_report_that_cannot_be_read_is_left_out(tmp_path, content):
    (tmp_path / "20260102T030405Z").mkdir()
    (tmp_path / "20260102T030405Z" / "report.json").write_text(content)
    (tmp_path / "20260102T030406Z").mkdir()  # a run in progress

    assert not list(finished_runs(tmp_path))
    assert not list(finished_runs(tmp_path / "missing"))


def test_runs_that_start_in_the_same_second_get_different_folders(tmp_path):
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = [report._new_folder(tmp_path / "runs", now).name for _ in range(3)]
    assert names == ["20260102T030405Z", "20260102T030405Z-2", "20260102T030405Z-3"]


def test_two_runs_at_once_write_to_different_folders(tmp_path):
    with RunReport(tmp_path) as first, RunReport(tmp_path) as second:
        assert first.folder != second.folder


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        RunReport(tmp_path / "file")
    assert len(str(caught.value).splitlines()) == 1


def test_a_full_disk_is_a_one_line_error(tmp_path):
    class Full:
        def writerow(self, _row: object) -> None:
            raise OSError(28, "No space left on device")

    with RunReport(tmp_path) as folder:
        folder._skipped_writer = Full()
        with pytest.raises(StorageError, match="No space left on device") as caught:
            list(folder.keep_skipped([skipped("a")]))
    assert len(str(caught.value).splitlines()) == 1


def test_texts_are_safe_in_a_spreadsheet_and_ids_are_as_they_are(tmp_path):
    names = ["=1+1", "+49", "@x", "-2", "'q", "a[/red]b", "👨‍👩‍👧", "a\u2028b"]
    with RunReport(tmp_path) as folder:
        list(
            folder.keep_skipped([Skipped(name, Stage.IMAGES, Reason.NOT_FOUND, "=x", 7, "+part.csv") for name in names])
        )
        list(folder.keep_skipped([skipped("a\x1b[31m\u202eb", "\x9b2J")]))
        for name in names:
            folder.add_change(name, "added")
        assert list(folder.changed_ids()) == names
    with folder.skipped_table.open(encoding="utf-8", newline="") as file:
        *rows, last = csv.DictReader(file)
    assert [row["product_id"] for row in rows] == names
    assert {(row["detail"], row["line"], row["file"]) for row in rows} == {("'=x", "7", "'+part.csv")}
    assert (last["product_id"], last["detail"]) == ("a\\x1b[31m\\u202eb", "\\x9b2J")
