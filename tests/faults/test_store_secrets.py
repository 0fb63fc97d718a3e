"""A secret in a place of vectors, or in the environment, is shown by no command and stands in no file afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.bucket import IGNORED
from support.object_storage import BUCKET

from faults.stocked import StockedShop

if TYPE_CHECKING:
    from pathlib import Path

    from support.object_storage import Storage
    from support.shop import Ended

pytestmark = IGNORED

SECRET = "S3cr3tS3cr3t"
KEY = "AKIAKEYKEYKEY"
PLACE = f"s3://{KEY}:{SECRET}@{BUCKET}/shop"
OTHERS = (f"s3a://{KEY}:a/b{SECRET}@{BUCKET}/shop", f"S3:/{KEY}:{SECRET}@{BUCKET}", f"s3://{SECRET}@{BUCKET}")
COMMANDS = {
    "run": ["run"],
    "verify": ["verify"],
    "compact": ["store", "compact"],
    "gc": ["store", "gc", "--yes", "--grace", "0s"],
    "restore": ["store", "restore"],
    "info": ["store", "info"],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> StockedShop:
    shop = StockedShop(tmp_path_factory.mktemp("secrets"), tiny_clip)
    shop.stock_numbers(range(3))
    return shop


def assert_silent(shop: StockedShop, ended: Ended) -> None:
    """Fail if the secret is shown, or stands in any file that a command has written."""
    assert SECRET not in ended.out + ended.err
    assert KEY not in ended.out + ended.err
    written = [path for path in shop.folder.rglob("*") if path.is_file() and path.name != "with-secret.toml"]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("command", "place"), [*((command, PLACE) for command in COMMANDS), *(("compact", place) for place in OTHERS)]
)
def test_a_store_with_a_secret_is_refused_without_it(shop: StockedShop, command: str, place: str) -> None:
    ended = shop.ingest(*COMMANDS[command], "--store", place)
    assert ended.code == 3
    assert "a URL with a password or a query would appear in reports" in ended.err
    assert_silent(shop, ended)


def test_so_it_is_from_the_environment_a_file_and_for_another_catalog(shop: StockedShop) -> None:
    written = (shop.folder / "ingest.toml").read_text() + f'store = "{PLACE}"\n'
    (shop.folder / "with-secret.toml").write_text(written)
    for command, file in (("gc", "ingest.toml"), ("compact", "with-secret.toml")):
        place = {"INGEST_STORE": PLACE} if file == "ingest.toml" else {}
        ended = shop.ingest(*COMMANDS[command], "--config", file, **place)
        assert ended.code == 3
        assert_silent(shop, ended)
    ended = shop.ingest(*COMMANDS["gc"], "--also", PLACE)
    assert (ended.code, "--catalog s3://…" in ended.err) == (3, True)
    assert_silent(shop, ended)


@pytest.mark.parametrize(
    "typed",
    ["compact PLACE", "compact --size PLACE", "gc --max-drop PLACE", "gc --grace PLACE",
     "restore --stor PLACE", "info --stor=PLACE", "info --config PLACE", "PLACE"],
)  # fmt: skip
def test_a_place_that_was_typed_where_none_belongs_is_not_repeated(shop: StockedShop, typed: str) -> None:
    ended = shop.ingest("store", *typed.replace("PLACE", PLACE).split())
    assert ended.code in (2, 3)
    assert_silent(shop, ended)


def test_the_keys_of_the_environment_are_not_shown_whether_the_storage_answers_or_fails(
    shop: StockedShop, storage: Storage
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    for command in COMMANDS.values():
        ended = shop.ingest(*command, "--store", f"s3://{BUCKET}/keys", **keys)
        assert ended.code == 0, ended.err
        assert_silent(shop, ended)
    storage.fail(*["500"] * 99)
    ended = shop.ingest(*COMMANDS["compact"], "--store", f"s3://{BUCKET}/keys", **keys)
    assert (ended.code, "cannot be" in ended.err) == (3, True)
    assert_silent(shop, ended)
    nowhere = f"http://{KEY}:{SECRET}@127.0.0.1:1/"
    ended = shop.ingest(*COMMANDS["info"], "--store", f"s3://{BUCKET}/keys", AWS_ENDPOINT_URL=nowhere)
    assert (ended.code, "cannot be listed" in ended.err) == (3, True)
    assert_silent(shop, ended)
