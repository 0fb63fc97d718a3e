"""The programs of examples/, which docs/querying.md shows, against a real server and `ingest serve`."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.service import serving, stock
from support.shop import ROOT, Ended, Shop, contract_in, copied_sample_model, run_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "querying.md").read_text(encoding="utf-8")
QUERY = ("red striped mug", 'category == "mugs" and price < 15')
TOKEN = "open-sesame"
HIT = re.compile(r"([\d.]+) (P\d{4}) (.+) ([\d.]+)")


class Places(NamedTuple):
    """A catalog on a server, and where its programs ask."""

    shop: Shop
    alias: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def places(milvus_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Run a part of the sample catalog into the server under an alias of its own, and serve it with a token."""
    folder = tmp_path_factory.mktemp("examples")
    shop, alias = Shop(folder / "shop", copied_sample_model(folder / "clip")), "test_examples"
    stock(shop)
    schema = contract_in(shop.folder, alias)
    shop.run("--uri", milvus_uri, "--schema", schema)
    with serving(shop, "--uri", milvus_uri, "--schema", schema, token=TOKEN) as service:
        address = service.address.rstrip("/")
        environment = {"SERVE": address, "MILVUS": milvus_uri, "ALIAS": alias, "INGEST_SERVE_TOKEN": TOKEN}
        yield Places(shop, alias, environment)


def needed(tool: str, path: Path | None = None) -> None:
    """Skip where a program of the machine is missing; on CI, fail."""
    if shutil.which(tool) is None or (path is not None and not path.exists()):
        what = f"{path or tool} is not there: scripts/setup_browser.sh"
        if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
            raise pytest.fail.Exception(what, pytrace=False)
        pytest.skip(what)


def found(ended: Ended) -> list[str]:
    """Return the ids that a program printed, which must be mugs below the price, the best first."""
    assert ended.code == 0, ended.err
    hits = [HIT.fullmatch(line) for line in ended.out.splitlines()]
    assert all(hits), ended.out
    scores = [float(hit[1]) for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all("mug" in hit[3] and float(hit[4]) < 15 for hit in hits)
    assert "Red striped" in hits[0][3]
    return [hit[2] for hit in hits]


def python(places: Places, *arguments: str) -> Ended:
    return run_in(places.shop.folder, [sys.executable, EXAMPLES / "python" / "search.py", *arguments],
                  **places.environment)  # fmt: skip


def test_python_finds_what_it_says(places: Places) -> None:
    assert len(found(python(places, *QUERY))) == 5


def test_typescript_finds_the_same_and_its_types_hold(places: Places) -> None:
    folder = EXAMPLES / "typescript"
    needed("npm", folder / "node_modules" / ".bin" / "tsx")

    ended = run_in(folder, ["npm", "run", "--silent", "search", "--", *QUERY], **places.environment)
    checked = run_in(folder, ["npm", "run", "--silent", "check"])

    assert found(ended) == found(python(places, *QUERY))
    assert (checked.code, checked.out) == (0, "")


def test_curl_finds_the_same_and_an_older_server_has_the_older_api_alone(places: Places) -> None:
    needed("jq")
    program = ["bash", EXAMPLES / "curl" / "search.sh", *QUERY]

    old = run_in(places.shop.folder, program, REST="v1", **places.environment)
    new = run_in(places.shop.folder, program, **places.environment)

    assert found(old) == found(python(places, *QUERY))
    if new.code:  # Milvus 2.3: what the page says of it
        assert (new.code, "404" in new.err) == (22, True)
    else:
        assert found(new) == found(old)


def test_faiss_alone_reads_the_exported_files(places: Places) -> None:
    mug = found(python(places, *QUERY))[0]
    ended = run_in(
        places.shop.folder, [sys.executable, "-I", EXAMPLES / "faiss" / "search.py", "data/indexes", mug]
    )  # fmt: skip

    assert ended.code == 0, ended.err
    hits = [line.split() for line in ended.out.splitlines()]
    assert len(hits) == 5
    told = places.shop.search("--product", mug, "--limit", "5", "--backend", "faiss")
    assert [product_id for _, product_id in hits] == [hit["product_id"] for hit in told]


def test_the_page_shows_the_programs_as_they_are() -> None:
    shown = dict(
        re.findall(r"\[`?examples/[^\]]+\]\(\.\./(examples/[^)]+)\)[^\n]*\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    )

    assert set(shown) == {
        str(path.relative_to(ROOT)) for path in EXAMPLES.rglob("search.*") if "node_modules" not in path.parts
    }
    for path, program in shown.items():
        assert program == (ROOT / path).read_text(encoding="utf-8"), path


def test_no_program_imports_ingest() -> None:
    programs = [path for path in EXAMPLES.rglob("*.py") if "node_modules" not in path.parts]
    assert {path.relative_to(EXAMPLES).as_posix() for path in programs} >= {"python/search.py", "faiss/search.py"}
    for path in programs:
        assert not re.search(r"^\s*(import|from) ingest", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_programs_and_commands_name_one_product_of_each_item(places: Places) -> None:
    schema = places.shop.folder / "grouped.toml"
    shipped = (places.shop.folder / "contract.toml").read_text(encoding="utf-8")
    schema.write_text(f'group = "colour"\n{shipped}', encoding="utf-8")
    milvus = ("--uri", places.environment["MILVUS"], "--schema", schema)
    assert len(set(colours(places, found(python(places, *QUERY))))) < 5, "without a group some share their colour"
    try:
        places.shop.run(*milvus)
        names = found(python(places, *QUERY))
        assert len(set(colours(places, names))) == len(names) == 5
        told = places.shop.search(QUERY[0], "--filter", QUERY[1], "--limit", "5", *milvus)
        assert [hit["product_id"] for hit in told] == names
        needed("npm", EXAMPLES / "typescript" / "node_modules" / ".bin" / "tsx")
        program = ["npm", "run", "--silent", "search", "--", *QUERY]
        assert found(run_in(EXAMPLES / "typescript", program, **places.environment)) == names
    finally:
        places.shop.run(*milvus[:2], "--schema", places.shop.folder / "contract.toml")


def colours(places: Places, product_ids: list[str]) -> list[str]:
    with (places.shop.folder / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["product_id"]: row["colour"] for row in csv.DictReader(file)}
    return [rows[product_id] for product_id in product_ids]
