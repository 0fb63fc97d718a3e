"""`ingest serve` as an app sees it: what it answers, what it refuses, and how it starts and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from faults.test_hostile_images import REFUSED, SHOWN
from support.service import serving

if TYPE_CHECKING:
    from support.service import Service
    from support.shop import Shop

CLIENTS = 64
NOTHING_OUTSIDE = [
    "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "....//....//etc/passwd", "/etc/passwd", "%00",
    "products.csv", "../products.csv", "P0001.jpg", "images/P0001", "index.sqlite", "-", "%", "'; drop table picture--",
    '" or product_id != "', "C:\\windows\\win.ini", "\u202e", "x" * 2000,
]  # fmt: skip


def test_it_finds_what_ingest_search_finds(service: Service, tmp_path) -> None:
    found = service.search(text="red striped mug", limit=5, filter="price < 15")
    shop = service.shop.copied_to(tmp_path / "shop")
    printed = shop.search("red striped mug", "--limit", "5", "--filter", "price < 15")

    assert [hit["product_id"] for hit in found] == [hit["product_id"] for hit in printed]
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in printed], abs=1e-4)
    assert found[0]["fields"]["title"].startswith("Red striped")
    assert all(hit["fields"]["price"] < 15 for hit in found)


def test_an_image_finds_its_product_and_a_text_beside_it_changes_the_result(service: Service) -> None:
    mug = next(hit for hit in service.search(text="red striped mug") if hit["fields"]["category"] == "mugs")
    content = (service.shop.folder / mug["fields"]["image"]).read_bytes()

    def ask(**query: object) -> list[dict[str, object]]:
        answer = service.ask("POST", "v1/search", files={"picture": content}, data={"query": json.dumps(query)})
        assert answer.status_code == 200, answer.text
        return answer.json()["hits"]

    alone, led = ask(limit=1), ask(limit=1, text="blue lamp", weights={"text": 1, "picture": 0.1})
    assert (alone[0]["product_id"], alone[0]["score"]) == (mug["product_id"], pytest.approx(1.0, abs=1e-3))
    assert led[0]["product_id"] != mug["product_id"]


def test_similar_products_leave_out_the_product_and_copies_of_its_image(service: Service) -> None:
    answer = service.ask("GET", "v1/products/P0001/similar", params={"limit": 5})

    assert {"P0001", "Q0", "Q1"} & {hit["product_id"] for hit in answer.json()["hits"]} == set()
    assert len(answer.json()["hits"]) == 5


def test_an_embedding_is_a_unit_vector_in_the_collections_space(service: Service) -> None:
    contract = service.ask("GET", "v1/contract").json()
    by_text = service.ask("POST", "v1/embed", json={"text": "red striped mug"}).json()
    picture = (service.shop.images / "P0001.jpg").read_bytes()
    by_picture = service.ask("POST", "v1/embed", files={"picture": picture}).json()

    for embedded in (by_text, by_picture):
        assert len(embedded["vector"]) == contract["dim"]
        assert sum(number**2 for number in embedded["vector"]) == pytest.approx(1.0, abs=1e-5)
        assert embedded["fingerprint"] == contract["fingerprint"]


def test_the_collection_is_summarised(service: Service) -> None:
    found = service.ask("GET", "v1/collection").json()
    plane = service.ask("GET", "v1/collection/map").json()
    facets = {facet["name"]: facet for facet in found["facets"]}

    assert found["rows"] == len(plane["product_ids"]) == found["pictures"] + 3
    assert "mugs" in {value["value"] for value in facets["category"]["values"]}
    assert 0 < facets["price"]["low"] < facets["price"]["high"]
    assert facets["title"]["values"] == []
    assert [group["products"] for group in found["shared"]] == [3, 2]
    assert {row["product_id"]: row["reason"] for row in found["latest_run"]["skipped"]} == {
        "X1": "not an image", "X2": "not found",
    }  # fmt: skip
    assert all(-1 <= number <= 1 for number in [*plane["x"], *plane["y"]])
    assert set(plane["fields"]) >= {"category", "title"}


def test_a_products_image_is_served_scaled_down_and_cached(service: Service) -> None:
    answer = service.ask("GET", "v1/products/P0001/picture", params={"side": 64})
    again = service.ask(
        "GET", "v1/products/P0001/picture", params={"side": 64},
        headers={"Authorization": f"Bearer {service.token}", "If-None-Match": answer.headers["ETag"]},
    )  # fmt: skip

    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8\xff")
    assert len(answer.content) < 10_000
    assert again.status_code == 304


@pytest.mark.parametrize("product_id", NOTHING_OUTSIDE)
def test_malicious_ids_find_nothing(service: Service, product_id: str) -> None:
    for path in (f"v1/products/{quote(product_id, safe='')}", f"v1/products/{product_id}"):
        for end in ("/picture", "/similar", ""):
            request = requests.Request("GET", service.address, headers={"Authorization": f"Bearer {service.token}"})
            prepared = service.session.prepare_request(request)
            prepared.url = (service.address + path + end).replace("\u202e", quote("\u202e"))
            answer = service.session.send(prepared, timeout=60)
            assert answer.status_code in (400, 404), (path + end, answer.text)
            assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_image_is_refused_with_its_reason(service: Service, name: str) -> None:
    content, _reason = REFUSED[name]
    answer = service.ask("POST", "v1/search", files={"picture": (name, content)})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the image: ")
    assert "/tmp" not in answer.json()["error"]


def test_odd_images_that_viewers_show_are_accepted(service: Service) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda name: service.ask("POST", "v1/embed", files={"picture": SHOWN[name]}), SHOWN))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "nothing to look for"),
        ({"text": " "}, "text is empty"),
        ({"text": "mug", "colour": "red"}, "'colour' is not known"),
        ({"text": "mug", "limit": 0}, "limit should be"),
        ({"text": "mug", "limit": True}, "limit should be"),
        ({"text": "mug", "weights": {"text": 0}}, "weights"),
        ({"text": "mug", "weights": {"words": 1}}, "weights.words should be 'text', 'picture' or 'product'"),
        ({"text": "mug", "filter": "price <"}, "filter"),
        ({"text": "mug\ud800"}, "the body is not JSON"),
        ([], "the body should be an object"),
    ],
)
def test_an_invalid_query_is_refused_in_one_line_that_names_the_mistake(service: Service, body, said) -> None:
    answer = service.ask("POST", "v1/search", json=body)

    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_missing_and_too_large_things_have_their_own_status(service: Service) -> None:
    def status(method: str, path: str, **options: object) -> int:
        return service.ask(method, path, **options).status_code

    own = {"Authorization": f"Bearer {service.token}"}
    assert status("POST", "v1/search", json={"product_id": "P9999"}) == 404
    assert status("GET", "v1/nothing") == 404
    assert status("GET", "page/../app.py") == 404
    assert status("DELETE", "v1/search") == 405
    assert status("POST", "v1/search", data=b"mug", headers={**own, "Content-Type": "text/plain"}) == 415
    assert status("POST", "v1/search", json={"text": "x" * 70_000}) == 413
    chunks = iter([b"x" * 40_000] * 3)
    assert status("POST", "v1/search", data=chunks, headers={**own, "Content-Type": "application/json"}) == 413


def test_without_the_token_only_the_page_and_the_probes_are_answered(service: Service) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": service.token}):
        for method, path in (
            ("POST", "v1/search"), ("POST", "v1/embed"), ("GET", "v1/contract"), ("GET", "v1/collection"),
            ("GET", "v1/products/P0001/picture"), ("GET", "v1/products/P0001/similar"), ("GET", "metrics"),
        ):  # fmt: skip
            answer = service.ask(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in ("", "page/app.js", "healthz", "readyz", "openapi.json"):
        assert service.ask("GET", path, headers={}).status_code == 200


def test_pages_of_other_origins_and_dns_rebinding_are_refused(service: Service) -> None:
    own = {"Authorization": f"Bearer {service.token}"}
    address = service.address.removesuffix("/")
    for headers, status in [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1@evil.example"}, 421),
        ({"Origin": address}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ]:
        answer = service.ask("GET", "v1/contract", headers={**own, **headers})
        assert answer.status_code == status, headers
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_has_the_security_headers(service: Service) -> None:
    for path in ("", "v1/contract", "v1/nothing", "page/style.css"):
        headers = service.ask("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_many_clients_at_once_are_answered_in_few_batches(service: Service) -> None:
    def ask(number: int) -> tuple[int, str]:
        answer = requests.post(
            f"{service.address}v1/search", json={"text": f"red striped mug {number % 7}", "limit": 3},
            headers={"Authorization": f"Bearer {service.token}"}, timeout=60,
        )  # fmt: skip
        return answer.status_code, answer.json()["hits"][0]["fields"]["category"]

    def count(name: str) -> float:
        lines = service.ask("GET", "metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

    name = 'ingest_batch_size_{}{{kind="text"}}'
    before = [count(name.format(part)) for part in ("count", "sum")]
    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = set(threads.map(ask, range(2 * CLIENTS)))
    batches, queries = (count(name.format(part)) - was for part, was in zip(("count", "sum"), before, strict=True))

    assert answers == {(200, "mugs")}
    assert queries == 2 * CLIENTS
    assert batches < queries


def test_one_line_says_why_it_does_not_start(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, code, said in [
            (["--host", "0.0.0.0"], 2, "INGEST_SERVE_TOKEN"),
            (["--port", port], 3, "in use"),
            (["--port", "0", "--allow-origin", "*"], 3, "--allow-origin *"),
            (["--port", "0", "--serve-token", "two\nlines"], 3, "--serve-token: contains a line break"),
            (["--data", "elsewhere"], 5, "no such Milvus Lite file"),
            (["--model", "nowhere/at-all"], 6, "nowhere/at-all"),
        ]:
            ended = shop.ingest("serve", *arguments)
            assert (ended.code, ended.out) == (code, "")
            assert said in ended.err.splitlines()[-1]


def test_its_token_is_not_in_the_process_list_and_ctrl_c_ends_it(shop: Shop) -> None:
    with serving(shop, "--serve-token", "s3cret-of-nobody") as made:
        shown = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(made.process.pid)], capture_output=True, check=True
        )
        assert b"serve" in shown.stdout
        assert b"s3cret" not in shown.stdout
        assert made.ask("GET", "v1/contract").status_code == 401
        assert made.ask("GET", "v1/contract", headers={"Authorization": "Bearer s3cret-of-nobody"}).status_code == 200
        made.process.send_signal(signal.SIGINT)
        assert made.process.wait(30) == 0
        assert made.log.read_text(encoding="utf-8").count("\n") == 2  # what it loads, and the address
    assert shop.ingest("search", "mug", "--limit", "1").code == 0  # the Milvus Lite file is released
