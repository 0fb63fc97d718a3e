"""Statistics of the images, and the commands that show them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from PIL import Image
from support.http_server import Answer
from support.image_files import saved
from support.reading import record_local

from ingest.cli.main import cli
from ingest.core.records import ImageFile, Product
from ingest.images.cache import statistics
from ingest.images.quality import Inspector, QualityFilter


def ingest(*arguments):
    ended = CliRunner().invoke(cli, [str(word) for word in arguments])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.output


@pytest.fixture
def shop(tmp_path, server, jpeg):
    """A catalog of four products: one whole, one missing, one that fails for now, and one local."""
    (tmp_path / "local.jpg").write_bytes(jpeg)
    rows = {
        "A": server.serve("/a", Answer(jpeg, headers={"ETag": '"1"'}), Answer(status=304)),
        "B": server.url("/gone"),
        "C": server.serve("/c", Answer(status=500)),
        "D": "local.jpg",
    }
    lines = ["product_id,image", *(f"{name},{image}" for name, image in rows.items())]
    (tmp_path / "products.csv").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--catalog", tmp_path / "products.csv", "--data", tmp_path / "data", "--allow-private", "-q", "--json"]

    def fetch(*more):
        return json.loads(ingest("fetch", *flags, "--download-tries", "1", *more))

    return fetch


def test_transient_failures_are_tried_again_and_permanent_ones_are_not(shop, server):
    first = shop()
    assert (first["products"], first["pictures"]) == (4, 2)
    assert first["reasons"] == {"not found": 1, "http 5xx": 1}
    assert shop()["reasons"] == {"not found": 1, "http 5xx": 1}
    assert [server.asked(path) for path in ("/a", "/gone", "/c")] == [1, 1, 2]
    shop("--retry-failed")
    assert [server.asked(path) for path in ("/a", "/gone", "/c")] == [1, 2, 3]


def test_a_refresh_asks_with_validators_and_keeps_what_has_not_changed(shop, server):
    shop()
    assert shop("--refresh-older-than", "7d")["pictures"] == 2
    assert server.asked("/a") == 1
    assert shop("--refresh")["pictures"] == 2
    assert server.asked("/a") == 2
    assert server.requests[-1][1].get("If-None-Match") or any("If-None-Match" in head for _, head in server.requests)


def test_status_shows_states_hosts_and_quality(shop, tmp_path):
    shop()
    status = json.loads(ingest("status", "--data", tmp_path / "data", "--json"))
    assert {state["name"]: (state["pictures"], state["tried_again"]) for state in status["states"]} == {
        "fetched": (1, False),
        "local": (1, False),
        "http 5xx": (1, True),
        "not found": (1, False),
    }
    (host,) = status["worst_hosts"]
    assert (host["name"], host["failed"], host["pictures"]) == ("127.0.0.1", 2, 3)
    assert status["quality"]["sharing"] == 2
    text = ingest("status", "--data", tmp_path / "data")
    assert "worst hosts" in text
    assert "2 products have the image of A" in text


def test_quality_counts_shared_tiny_and_blank(cache, tmp_path, jpeg):
    blank = saved(Image.new("RGB", (300, 40), (9, 9, 9)), "JPEG")
    for name, content in {"A": jpeg, "B": jpeg, "C": jpeg, "D": blank}.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content)
        entry = record_local(cache, name, path)
        assert Inspector(cache, QualityFilter(min_side=1))(ImageFile(Product(name, "", {}, 1), path, entry.sha256))
    found = statistics.quality(cache.index)
    assert (found.looked_at, found.tiny, found.blank) == (4, 1, 1)
    assert (found.sharing, found.shared, found.duplicates) == (3, 1, 2)
    assert [(shared.products, shared.product_id) for shared in found.most_shared] == [(3, "A")]


def test_status_without_a_cache_is_one_line(tmp_path):
    with pytest.raises(Exception, match="run ingest fetch or ingest run first"):
        ingest("status", "--data", tmp_path)
