"""Places that are URLs: told from paths, and asked a few times."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError, StorageError
from ingest.runtime import remote_files


def test_a_url_that_lacks_a_slash_is_no_folder():
    with pytest.raises(ConfigError, match="--store s3:/x/y: a URL needs two slashes: s3://x/y"):
        remote_files.is_remote("s3:/x/y", "--store")
    assert not remote_files.is_remote("c:/x/y", "--store")


@pytest.mark.parametrize(
    "place",
    [
        "s3://KEY:h1dd3n@bucket/x",
        "s3://KEY:h1d/d3n@bucket/x",
        "s3:/KEY:h1dd3n@bucket",
        "S3://KEY:h1dd3n@bucket",
        "s3a://h1dd3n@bucket",
        "s3://KEY:80/h1dd3n/x@y@bucket",
        "gs://me:h1dd3n@bucket",
        "sftp://me:h1dd3n@host/x",
        "https://host/x?sig=h1dd3n",
    ],
)
def test_a_url_with_a_secret_is_refused_without_repeating_it(place):
    for ask in (remote_files.is_remote, remote_files.open_filesystem):
        with pytest.raises(ConfigError, match=r"^--store \w+://…: a URL with a password") as raised:
            ask(place, "--store")
        assert "h1d" not in str(raised.value)
        assert "d3n" not in str(raised.value)
    if place.lower().startswith("s3"):
        assert "set AWS_ACCESS_KEY_ID" in str(raised.value)


@pytest.mark.parametrize(
    "place", ["s3://bucket/a@b:c@d", "http://img.lan:9000/feed@2", "abfs://box@account.dfs.core.windows.net/x", "a:b@c"]
)
def test_a_url_without_one_is_not(place):
    assert remote_files.is_remote(place, "--store") == ("://" in place)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(remote_files, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(remote_files, "_LONGEST_PAUSE_S", 0.002)


@pytest.mark.parametrize(
    ("error", "tries", "raised"),
    [
        (
            OSError("reset by\npeer"),
            5,
            r"^s3://b/x: cannot be read \(reset by peer\); check the storage",
        ),
        (PermissionError(13, "Access Denied"), 1, r"cannot be read \(Access Denied\)"),
    ],
)
def test_what_may_pass_is_tried_five_times_and_what_lasts_once(error, tries, raised):
    calls = []

    def ask():
        calls.append(1)
        raise error

    with pytest.raises(StorageError, match=raised):
        remote_files.with_retries(ask, "s3://b/x", "read")
    assert len(calls) == tries


def test_what_is_not_there_is_said_as_it_is_and_at_once():
    def ask():
        raise FileNotFoundError("x")

    with pytest.raises(FileNotFoundError):
        remote_files.with_retries(ask, "s3://b/x", "read")


def test_a_storage_that_nobody_knows_names_its_option():
    with pytest.raises(ConfigError, match=r"--catalog nope://b: .*; give a path, or a URL such as s3://bucket/folder"):
        remote_files.open_filesystem("nope://b", "--catalog")
