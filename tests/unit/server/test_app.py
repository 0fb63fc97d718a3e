"""The whole application in this process, with a fake model: requests while the alias, Milvus or the load changes."""

from __future__ import annotations

import hashlib
import http.client
import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pytest
import requests
from support.service import in_thread
from support.small_shop import FakeEncoder, SmallShop, checkpoint

from ingest.core.errors import ConfigError, MilvusError
from ingest.core.settings import Settings
from ingest.milvus import versions
from ingest.server.alias_watcher import AliasWatcher
from ingest.server.app import access_rules, application
from ingest.server.batching import Gate
from ingest.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.embedding.encoder import Pixels

SHOP_PAGE = "https://shop.example"
ODD = (
    "a", "a/", "/a", "a/similar", "a/picture", "similar", "picture", "similar/similar", "similar/picture", ".", "..",
    "a/../b", "//", "%", "%2F", "a%2Fsimilar", "?", "a?limit=1", "#", "&product_id=b", "+", "a b", "ü", "\ufffd",
    "日本/語", "\\", '"', "'", "x" * 60,
)  # fmt: skip
"""Ids that mean something else in a URL."""
PLAIN = ("a", "a/", "similar", "picture", "ü")
"""Ids that may also be sent as they are."""


class Model:
    """A fake `search.query.QueryModel` that embeds a text by its hash."""

    def __init__(self, name: str) -> None:
        self.space = checkpoint(name).space
        self.preprocessing = checkpoint(name).preprocessing
        self.encoder = self

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=self.space.dim) for seed in seeds]).astype(np.float32)

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        return FakeEncoder(self.space).images(pixels)


@contextmanager
def served(shop: SmallShop) -> Iterator[tuple[str, Service, AliasWatcher]]:
    with shop.connection() as connection:
        model = Model("model-2")
        live = AliasWatcher(connection, "products", model.space)
        service = Service(shop.settings, connection, live, model)  # type: ignore[arg-type]
        with in_thread(application(service, access_rules(shop.settings))) as address:
            yield address, service, live


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    made = SmallShop(tmp_path, allow_origin=SHOP_PAGE)
    made.stock({"a": (1, "one"), "b": (2, "two"), "c": (3, "three")})
    made.run(model="model-1")
    made.run(model="model-2")
    return made


def test_an_alias_switch_is_followed_and_a_model_that_does_not_match_is_refused_with_its_reason(
    shop: SmallShop,
) -> None:
    def ask(method: str, path: str, **options: object) -> requests.Response:
        return requests.request(method, address + path, timeout=20, **options)

    with served(shop) as (address, _service, live):
        first = ask("GET", "v1/contract").json()
        picture = (shop.folder / "images" / "2.png").read_bytes()
        hits = ask("POST", "v1/search", files={"picture": picture}).json()["hits"]
        assert (hits[0]["product_id"], hits[0]["score"]) == ("b", pytest.approx(1, abs=1e-3))
        assert ask("GET", "readyz").status_code == 200

        versions.rollback(live._connection, "products")
        live.refresh()
        assert ask("GET", "v1/contract").json()["collection"] != first["collection"]
        assert ask("GET", "readyz").status_code == 503
        assert "was built with model-1" in ask("GET", "readyz").json()["error"]
        for path in ("v1/search", "v1/embed"):
            refused = ask("POST", path, json={"text": "two"})
            assert (refused.status_code, "model-1" in refused.json()["error"]) == (409, True)
        assert len(ask("GET", "v1/products/a/similar").json()["hits"]) == 2  # its vector is stored already
        assert ask("GET", "v1/collection").json()["rows"] == 3

        versions.rollback(live._connection, "products")
        live.refresh()
        assert ask("GET", "readyz").status_code == 200
        assert ask("POST", "v1/search", json={"text": "two"}).status_code == 200


def test_refused_requests_say_when_to_try_again(shop: SmallShop) -> None:
    with served(shop) as (address, service, _live):
        service.uploads = Gate(0)
        crowded = requests.post(f"{address}v1/embed", files={"picture": b"x"}, timeout=20)
        assert requests.post(f"{address}v1/embed", json={"text": "two"}, timeout=20).status_code == 200
        service.gate = Gate(0)
        closed = requests.post(f"{address}v1/search", json={"text": "two"}, timeout=20)
    for answer in (crowded, closed):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_an_unavailable_milvus_is_reported_as_such(shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(shop) as (address, _service, live):

        def fail(*_: object) -> None:
            raise MilvusError("Milvus at nowhere: cannot search: unavailable")

        monkeypatch.setattr(live.collection, "searches", fail)
        answer = requests.post(f"{address}v1/search", json={"text": "two"}, timeout=20)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"error": "Milvus at nowhere: cannot search: unavailable"}


def test_only_pages_of_allowed_origins_may_send_requests(shop: SmallShop) -> None:
    with served(shop) as (address, _service, _live):

        def preflight(origin: str) -> requests.Response:
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST",
                       "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
            return requests.options(f"{address}v1/search", headers=headers, timeout=20)

        assert preflight(SHOP_PAGE).headers["Access-Control-Allow-Origin"] == SHOP_PAGE
        assert "Access-Control-Allow-Origin" not in preflight("https://evil.example").headers
        answer = requests.get(f"{address}v1/contract", headers={"Origin": SHOP_PAGE}, timeout=20)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, SHOP_PAGE)


def test_a_head_request_gets_the_headers_of_a_get(shop: SmallShop) -> None:
    with served(shop) as (address, _service, _live):
        for path in ("", "healthz", "v1/contract", "v1/products/a/picture", "page/app.js"):
            answer = requests.head(address + path, timeout=20)
            full = requests.get(address + path, timeout=20)
            assert (answer.status_code, answer.content) == (200, b""), path
            assert answer.headers["Content-Length"] == full.headers["Content-Length"]
        assert requests.head(f"{address}v1/search", timeout=20).status_code == 405
        lines = requests.get(f"{address}metrics", timeout=20).text.splitlines()
    image = "/v1/products/{product_id:path}/picture"
    for route, status in ((image, 200), ("other", 405)):
        assert f'ingest_requests_total{{method="HEAD",route="{route}",status="{status}"}} 1.0' in lines


def test_fastapis_own_pages_and_telemetry_are_off(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with served(shop) as (address, _service, _live):
        for path in ("docs", "redoc", "docs/oauth2-redirect"):
            assert requests.get(address + path, timeout=20).json() == {"error": "Not Found"}
        assert requests.get(f"{address}healthz", timeout=20).status_code == 200
    assert "telemetry" not in caplog.text  # it logs that the exporters are not installed


@pytest.fixture
def odd_shop(tmp_path: Path) -> SmallShop:
    made = SmallShop(tmp_path)
    made.stock({product_id: (number, product_id) for number, product_id in enumerate(ODD)})
    made.run(model="model-2")
    return made


def raw_get(address: str, target: str) -> tuple[int, bytes]:
    """Send a request whose path no library rewrites."""
    with closing(http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=20)) as connection:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_product_is_found_by_its_own_id_whatever_it_is(odd_shop: SmallShop) -> None:
    with served(odd_shop) as (address, _service, _live):
        for product_id in ODD:
            encoded = quote(product_id, safe="")
            one, image, others = (
                [raw_get(address, f"/v1/{by_query}?product_id={encoded}"), raw_get(address, f"/v1/products/{by_path}")]
                for by_query, by_path in (
                    ("product", encoded), ("picture", f"{encoded}/picture"), ("similar", f"{encoded}/similar"),
                )
            )  # fmt: skip
            for status, content in one:
                assert status == 200, (product_id, content)
                assert json.loads(content)["product_id"] == product_id
            for status, content in image:
                assert (status, content[:3]) == (200, b"\xff\xd8\xff"), product_id
            assert image[0] == image[1]
            assert others[0] == others[1]
            hits = {hit["product_id"] for hit in json.loads(others[0][1])["hits"]}
            assert len(hits) == min(20, len(ODD) - 1)
            assert product_id not in hits
        for product_id in PLAIN:
            status, content = raw_get(address, f"/v1/products/{quote(product_id)}")
            assert (status, json.loads(content)["product_id"]) == (200, product_id)


def test_an_encoded_letter_is_the_letter_and_an_ambiguous_request_is_refused(odd_shop: SmallShop) -> None:
    with served(odd_shop) as (address, _service, _live):
        similar = raw_get(address, "/v1/products/a/similar")
        assert similar[0] == 200
        assert "hits" in json.loads(similar[1])
        for same in ("/v1/products/a/%73imilar", "/v1/products/%61/similar", "/%761/products/a/similar"):
            assert raw_get(address, same) == similar
        for target, status in {
            "/v1/products/%FF": 404, "/v1/products/a%00": 404, "/v1%2Fproducts/a": 404, "/v1/products/": 404,
            "/v1/product": 400, "/v1/product?product_id=": 400, "/v1/product?product_id=%FF": 400,
            "/v1/product?product_id=a&product_id=similar": 400, "/v1/product?product_id=a&id=b": 400,
            "/v1/product?product_id=a%00": 400, "/v1/product?product_id=nothing": 404,
            "/page/..%2fapp.py": 404, "/page/%2e%2e/app.py": 404, "/healthz?a=1&a=2": 200,
        }.items():  # fmt: skip
            answer = raw_get(address, target)
            assert answer[0] == status, (target, answer)
            assert status == 200 or list(json.loads(answer[1])) == ["error"]


def test_a_filter_with_an_unknown_name_is_answered_with_a_warning(shop: SmallShop) -> None:
    with served(shop) as (address, _service, _live):

        def warnings(filter_: str) -> list[list[str]]:
            by_text = requests.post(f"{address}v1/search", json={"text": "one", "filter": filter_}, timeout=20).json()
            by_id = requests.get(
                f"{address}v1/similar", params={"product_id": "a", "filter": filter_}, timeout=20
            ).json()
            return [by_text["warnings"], by_id["warnings"]]

        for said in warnings('titel == "one"'):
            assert len(said) == 1
            assert said[0].startswith("titel is not a field of the contract (did you mean title?)")
        for nothing_wrong in ('title == "nothing"', 'title != "nosuch"', 'product_id != "x"', " "):
            assert warnings(nothing_wrong) == [[], []]


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://", "https://shop.example/page", "file:///etc"])
def test_an_invalid_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="--allow-origin"):
        access_rules(Settings(allow_origin=f"{SHOP_PAGE},{origin}"))
