"""Hostile text through every command: nothing of it reaches a terminal, a log or a file as it is."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest
from support.http_server import Answer, Server
from support.service import serving
from support.shop import ROOT, Ended, Shop, copied_sample_model, write_csv

from ingest.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

WILD = (
    "\x1b[31m\x1b]0;owned\x07\x1bP$q\x1b\\\x9b2J\x9d0;owned\x9c\b\x0b\x0c\x7f"
    "\u202e\u2066\u200b\u200e\ufeff\u2028\u2029\x85"
)
MARKUP = "a\\[/red] b [bold :smile:"
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
PRODUCTS = 24
JSON = {"Content-Type": "application/json"}
TEXTS = {".csv", ".json", ".html", ".log", ".txt"}


class Tried(NamedTuple):
    """A shop whose catalog is hostile, and where the service of some of its images is."""

    shop: Shop
    address: str
    feed: Path


def rows(address: str) -> Iterator[dict[str, str]]:
    with (ROOT / "data" / "products.csv").open(encoding="utf-8", newline="") as file:
        sample = [row for row, _ in zip(csv.DictReader(file), range(PRODUCTS), strict=False)]
    ids = ["=1+1", "@SUM(1)", "-2", "a[/red]b", "[bold]"]
    for number, row in enumerate(sample):
        yield row | {
            "product_id": ids[number] if number < len(ids) else row["product_id"],
            "title": f"{'=+@-'[number % 4]}{row['title']} {WILD} {MARKUP}",
            "brand": f"{row['brand']}\r{WILD}\ningest: all is well",
            "[/x]": MARKUP,
            f"more {WILD}": f"\t{WILD}",
        }
    bad = sample[0] | {"title": "=bad", "brand": WILD, "[/x]": "", f"more {WILD}": ""}
    yield bad | {"product_id": f"id {WILD}"}
    yield bad | {"product_id": "no-image", "image": f"images/{WILD}.jpg".replace("\x00", "")}
    yield bad | {"product_id": "x" * 300}
    yield bad | {"product_id": "bad-price", "price": WILD}
    yield bad | {"product_id": "gone", "image": f"{address}missing/\u202e.jpg"}
    yield bad | {"product_id": "no-jpeg", "image": f"{address}wild.jpg"}
    yield bad | {"product_id": "no-host", "image": f"http://h\x1bo\u202est.invalid/{WILD}.jpg"}


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    folder = tmp_path_factory.mktemp("hostile")
    model = copied_sample_model(folder / "clip \x1b]0;model\x07\u202e")
    shop = Shop(folder / "shop", model)
    feed = shop.folder / f"feed {WILD.replace(chr(0x2028), '')}"
    (feed / "images").mkdir(parents=True)
    server = Server()
    try:
        server.serve("/wild.jpg", Answer(WILD.encode("utf-8"), headers={"Content-Type": "text/\x1b[31m"}))
        table = list(rows(server.url("/")))
        for row in table[:PRODUCTS]:
            shutil.copy2(ROOT / "data" / row["image"], feed / row["image"])
        write_csv(feed / "part \x1b[2J 1.csv", table[::2])
        name = os.fsdecode(b"part \xff\x9b 2.csv")
        write_csv(feed / name, table[1::2])
        settings = (shop.folder / "ingest.toml").read_text(encoding="utf-8")
        lines = settings.replace('"products.csv"', json.dumps(feed.name))
        (shop.folder / "ingest.toml").write_text(lines, encoding="utf-8")
        yield Tried(shop, server.url("/"), feed)
    finally:
        server.stop()


def clean(text: str) -> str:
    """Return a text that a terminal may get; fails if it would obey some of it."""
    assert (found := OBEYED.findall(text)) == [], (found, text)
    return text


def checked(ended: Ended, *codes: int) -> Ended:
    assert ended.code in (codes or (0,)), ended.err
    assert "Traceback" not in ended.err
    assert "internal error" not in ended.err, ended.err
    lines = f"{clean(ended.out)}\n{clean(ended.err)}".splitlines()
    assert not [line for line in lines if line == "ingest: all is well"], "a line that is not ours"
    return ended


def leaves(command: click.Command, name: str = "") -> Iterator[str]:
    """Yield the names of all commands."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from leaves(found, f"{name} {child}".strip())


READ = ["--queries", "queries.csv"]
FETCH = ["--download-missing", "--allow-private", "--download-tries", "1", "--download-timeout", "5"]
COMMANDS: dict[str, list[list[str]]] = {
    "doctor": [[], ["--json"]],
    "plan": [["--details", *FETCH], ["--json", *FETCH], ["--estimate"]],
    "fetch": [["--json", *FETCH[1:]]],
    "run": [["--dry-run", "--details", *FETCH], FETCH, ["--json", "--profile", "trace.json", *FETCH]],
    "embed": [["--json", "--output", "a.npy", "--meta", "b.json"]],
    "export": [[]],
    "status": [[], ["--json"]],
    "init": [["products.csv", "--dry-run"]],
    "models": [[], ["--json"]],
    "search": [
        [f"mug {WILD} {MARKUP}"], ["mug", "--csv"], ["mug", "--json"], ["--product", "=1+1", "--html", "found.html"],
        READ, [*READ, "--json"], ["mug", "--backend", "faiss"], ["mug", "--filter", "colr == 'x'"],
        ["mug", "--filter", f"{WILD} == 1"], ["--image", f"http://x\x1b.invalid/{WILD}"], ["--product", WILD],
    ],
    "recommend": [
        ["=1+1"], ["=1+1", "@SUM(1)", "--csv"], ["a[/red]b", "--json"], ["[bold]", "--html", "like.html"],
        ["--all", "--out", "neighbours.csv"], [WILD], ["=1+1", "--same", f"[/x]{WILD}"],
    ],
    "evaluate": [["--queries", "5", "--labels", "brand", "--plot", "plot.svg"], ["--queries", "5", "--json"]],
    "verify": [["--sample", "3"], ["--sample", "3", "--json"], ["--pictures", "--repair"]],
    "collections": [[], ["--json"]],
    "collections prune": [["--yes"]],
    "store info": [[], ["--json"]],
    "store compact": [[]],
    "store restore": [[]],
    "store gc": [["--dry-run"], ["--yes", "--grace", "0s"]],
    "rollback": [[], ["--json"]],
    "serve": [],  # a test of its own
}  # fmt: skip
"""What every command is tried with; a new command must be here."""


def test_every_command_is_tried() -> None:
    assert set(leaves(cli)) == set(COMMANDS)


def test_no_command_lets_hostile_text_through(tried: Tried) -> None:
    shop = tried.shop
    write_csv(shop.folder / "queries.csv", [
        {"text": f"red mug {MARKUP}", "product_id": ""}, {"text": "=cup \u202e", "product_id": ""},
        {"text": "", "product_id": "=1+1"},
    ])  # fmt: skip
    theirs = {path for path in shop.folder.rglob("*") if path.is_file()}
    said: dict[str, list[Ended]] = {}
    for name, calls in COMMANDS.items():
        for arguments in calls:
            given = [word.replace("\x00", "") for word in arguments]
            ended = shop.ingest(*name.split(), *given, TMPDIR=shop.folder)
            said.setdefault(name, []).append(checked(ended, 0, 2, 3, 4, 5, 7, 10))

    assert [ended.code for ended in said["run"][1:]] == [0, 0]
    summary = said["run"][2].json
    assert (summary["products"], summary["skipped"]) == (PRODUCTS + 7, 7)
    titles = [hit["title"] for hit in said["search"][2].json]
    assert titles, "JSON holds what the catalog holds"
    assert all(WILD in title and MARKUP in title for title in titles)
    assert MARKUP in said["search"][0].out
    assert MARKUP in said["recommend"][0].out
    table = list(csv.reader(said["search"][1].out.splitlines(keepends=True)))
    assert table
    title = table[0].index("title")
    assert all(row[title][:2] in ("'=", "'+", "'@", "'-") for row in table[1:])
    written = {path for path in shop.folder.rglob("*") if path.suffix in TEXTS and path.is_file()} - theirs
    assert {path.name for path in written} >= {
        "report.json", "skipped.csv", "changes.csv", "found.html", "like.html", "neighbours.csv", "trace.json",
    }  # fmt: skip
    for path in written:
        text = path.read_bytes().decode()
        clean(text.replace("\r\n", "\n"))
        if path.name == "changes.csv":
            ids = [row["product_id"] for row in csv.DictReader(text.splitlines())]
            assert not [name for name in ids if name.startswith("'")]
    (skipped,) = [row for row in shop.skipped(summary) if row["product_id"] == "no-jpeg"]
    assert skipped["reason"] == "not an image"


def test_the_service_lets_no_hostile_text_through(tried: Tried) -> None:
    with serving(tried.shop) as service:
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "v1/collection", {}), ("GET", "v1/collection/map", {}), ("GET", "v1/contract", {}),
            ("POST", "v1/search", {"json": {"text": f"mug {WILD}"}}),
            ("POST", "v1/search", {"json": {"text": "mug", "filter": f"{WILD} == 1"}}),
            ("POST", "v1/search", {"data": f'{{"te{WILD}": 1}}'.encode(), "headers": JSON}),
            ("GET", "v1/products/=1+1", {}), ("GET", f"v1/products/{WILD}", {}), ("GET", "metrics", {}),
            ("GET", "openapi.json", {}), ("GET", f"nothing/{WILD}", {}),
        ]  # fmt: skip
        answers: list[requests.Response] = [service.ask(method, path, **options) for method, path, options in asked]
        for answer in answers:
            clean(answer.content.decode())
            assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert WILD in answers[3].json()["hits"][0]["fields"]["title"]
        assert WILD in answers[6].json()["fields"]["title"]
    clean(service.log.read_bytes().decode())


@pytest.mark.parametrize("toml", [
    '"\\u001b[31m\\u202e" = 1\n', 'catalog = "\\u001b[31m \\u009b2J.csv"\n', 'device = "\\u001b[31m\\u202e"\n',
    'model = "\\u001b[31m/\\u202e"\n', 'max_skipped = "\\u001b[2J\\ningest: all is well"\n', 'dtype = "\\u001b[31m"\n',
    'uri = "\\u001b[31m\\u202e"\n', 'schema = "\\u001b[31m.toml"\n', 'data = "\\u001b[31m\\u009b"\n', "\x7f = 1\n",
])  # fmt: skip
def test_settings_are_escaped_in_messages(tmp_path: Path, toml: str) -> None:
    shop = Shop(tmp_path / "shop", tmp_path / "clip")
    shop.stock([{"product_id": "P1", "image": "images/x.jpg", "title": "x"}])
    (shop.folder / "ingest.toml").write_text(toml, encoding="utf-8")
    for name in ("run", "doctor"):
        checked(shop.ingest(name), *range(1, 11))


@pytest.mark.parametrize("name", ["INGEST_DEVICE", "INGEST_DTYPE", "INGEST_MAX_WAIT", "INGEST_CATALOG", "INGEST_URI"])
def test_the_environment_is_escaped_in_messages(tmp_path: Path, name: str) -> None:
    shop = Shop(tmp_path / "shop", tmp_path / "clip")
    ended = shop.ingest("plan", **{name: f"{WILD}\ningest: all is well".replace("\x00", "")})
    checked(ended, *range(1, 11))


@pytest.mark.parametrize("arguments", [
    [f"se{WILD}"], ["search", f"--o{WILD}"], ["run", f"a\ningest: all is well {WILD}"], ["fetch", "-c", WILD],
    ["search", "--limit", WILD, "x"], ["embed", "--output", f"{WILD}.npy", "--meta", f"{WILD}.npy"],
    ["run", "--config", WILD], ["search", "--queries", WILD], ["search", os.fsdecode(b"\xff\x9b"), "--uri", "x.db"],
])  # fmt: skip
def test_arguments_are_escaped_in_messages(tmp_path: Path, arguments: list[str]) -> None:
    shop = Shop(tmp_path / "shop", tmp_path / "clip")
    checked(shop.ingest(*arguments), *range(1, 11))
