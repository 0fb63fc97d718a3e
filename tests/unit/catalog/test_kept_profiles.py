"""The profiles in the data folder: each of its own catalog, and nothing at all where the file is broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.catalog import kept_profiles
from ingest.catalog.profile import CatalogProfile
from ingest.core.settings import Settings

PROFILE = CatalogProfile(
    "product_id", ("product_id", "image", "price"), "CSV with ;, LF", "UTF-8", final_newline=True, short_rows=0, rows=2,
    read="2026-01-02", decimals={"price": "comma"},
)  # fmt: skip


def test_each_catalog_has_its_own_profile(tmp_path):
    one, other = (Settings(catalog=tmp_path / name, data=tmp_path) for name in ("a.csv", "b.csv"))
    assert kept_profiles.recall(one) is None
    kept_profiles.keep(one, PROFILE)
    kept_profiles.keep(other, replace(PROFILE, decimals={"price": "point"}))
    assert kept_profiles.recall(one) == PROFILE
    assert kept_profiles.recall(other).decimals == {"price": "point"}
    assert kept_profiles.recall(replace(one, catalog=tmp_path / "c.csv")) is None


def test_a_path_is_the_same_catalog_from_its_own_folder(tmp_path, monkeypatch):
    kept_profiles.keep(Settings(catalog=tmp_path / "a.csv", data=tmp_path), PROFILE)
    monkeypatch.chdir(tmp_path)
    assert kept_profiles.recall(Settings(catalog=Path("a.csv"), data=tmp_path)) == PROFILE


def test_a_url_signed_anew_is_the_same_catalog_and_its_secrets_are_not_kept(tmp_path):
    first, second = (
        Settings(catalog=f"https://me:S3cret@h.example/p.csv?sig={sig}", data=tmp_path) for sig in ("Abc1", "Def2")
    )
    kept_profiles.keep(first, PROFILE)
    assert kept_profiles.recall(second) == PROFILE
    written = (tmp_path / kept_profiles.FILE).read_text()
    assert "h.example/p.csv" in written
    assert not any(secret in written for secret in ("S3cret", "Abc1"))


def test_what_is_kept_already_is_not_written_again(tmp_path):
    settings = Settings(catalog=tmp_path / "a.csv", data=tmp_path)
    kept_profiles.keep(settings, PROFILE)
    kept_profiles.keep(settings, replace(PROFILE, read="2026-03-04"))
    assert kept_profiles.recall(settings).read == "2026-01-02"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_broken_file_is_as_none_and_is_replaced(tmp_path, content):
    settings = Settings(catalog=tmp_path / "a.csv", data=tmp_path)
    (tmp_path / kept_profiles.FILE).write_bytes(content)
    assert kept_profiles.recall(settings) is None
    kept_profiles.keep(settings, PROFILE)
    assert kept_profiles.recall(settings) == PROFILE


def test_a_profile_that_is_none_is_not_recalled(tmp_path):
    settings = Settings(catalog=tmp_path / "a.csv", data=tmp_path)
    kept_profiles.keep(settings, PROFILE)
    path = tmp_path / kept_profiles.FILE
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: "what?"}))
    assert kept_profiles.recall(settings) is None
