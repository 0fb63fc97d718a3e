"""Credentials on the command line, and what is left of it."""

from __future__ import annotations

import pytest

from ingest.cli import credentials


@pytest.mark.parametrize(
    ("given", "words", "token"),
    [
        ("run --token root:pw --json", "run --json", "root:pw"),
        ("run --token=root:pw", "run", "root:pw"),
        ("run --uri http://root:pw@host:19530 -q", "run --uri http://host:19530 -q", "root:pw"),
        ("run --uri=https://root:pw@host", "run --uri=https://host", "root:pw"),
        ("run --uri http://a:b@host --token c:d", "run --uri http://host", "c:d"),
        ("run --uri data/milvus.db", "run --uri data/milvus.db", ""),
        ("run --uri=data/me@home.db", "run --uri=data/me@home.db", ""),
        ("search mug --token", "search mug --token", ""),
        ("search mug --uri", "search mug --uri", ""),
        ("search -- --token x", "search -- --token x", ""),
        ("search --tokens x", "search --tokens x", ""),
    ],
)
def test_credentials_are_taken_out_and_all_else_stays(given, words, token):
    assert credentials.split(given.split()) == (words.split(), {credentials.TOKEN: token} if token else {})


def test_the_services_token_is_taken_out_beside_the_one_of_milvus():
    words, found = credentials.split(["serve", "--serve-token", "a", "--token=b", "--port", "1", "--serve-token"])
    assert words == ["serve", "--port", "1", "--serve-token"]
    assert found == {"INGEST_SERVE_TOKEN": "a", "INGEST_TOKEN": "b"}


def test_a_text_is_rid_of_the_token_and_of_its_password_alone(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "root:s3cret")
    assert credentials.redact("root:s3cret failed; is s3cret right?") == "… failed; is … right?"
    monkeypatch.setenv("MILVUS_TOKEN", "root:Milvus")
    assert credentials.redact("Milvus: root:Milvus failed") == "Milvus: … failed", "a password that everybody knows"
    monkeypatch.setenv("MILVUS_TOKEN", "")
    assert credentials.redact("nothing to hide") == "nothing to hide"
