"""Manifests: which files they match, and which not."""

from __future__ import annotations

import hashlib

import pytest

from ingest.exports.manifest import (
    ALTERED,
    ChecksumWriter,
    FileChecksum,
    Manifest,
    checksum_faults,
    manifest_path,
    read_manifest,
    remove_manifest,
    write_manifest,
)

CONTENT = b"[1, 2]"
CHECKSUM = FileChecksum(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ids.json"
    path.write_bytes(CONTENT)
    return path


def manifest_of(path) -> Manifest:
    return Manifest(2, 8, "f" * 16, "c" * 64, {path.name: CHECKSUM})


def test_a_manifest_is_read_as_written_until_it_is_removed(path):
    write_manifest(path, manifest_of(path))
    assert manifest_path(path).name == "ids.manifest.json"
    assert read_manifest(path) == manifest_of(path)
    remove_manifest(path)
    assert read_manifest(path) is None


def test_a_manifest_matches_its_content_its_space_and_the_sizes_of_all_its_files(path):
    manifest = manifest_of(path)
    assert manifest.matches("c" * 64, "f" * 16, path)
    assert not manifest.matches("d" * 64, "f" * 16, path)
    assert not manifest.matches("c" * 64, "e" * 16, path)
    assert not manifest.matches("c" * 64, "f" * 16, path, path.with_name("other"))
    path.write_bytes(CONTENT[:-1])
    assert not manifest.matches("c" * 64, "f" * 16, path)


def test_a_checksum_finds_a_file_of_the_same_size_and_a_missing_one(path):
    manifest = manifest_of(path)
    assert checksum_faults(manifest, path) == []
    path.write_bytes(CONTENT[::-1])
    assert checksum_faults(manifest, path) == [(path, ALTERED)]
    path.unlink()
    assert checksum_faults(manifest, path) == [(path, "is missing")]


def test_what_is_written_is_counted_and_hashed_as_it_goes(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        out = ChecksumWriter(file, tmp_path / "file")
        out.write(CONTENT[:3])
        out.write(CONTENT[3:])
    assert out.checksum() == CHECKSUM
    assert (tmp_path / "file").read_bytes() == CONTENT
