"""`ingest serve` as tests meet it: the command in a process of its own, asked over loopback."""

from __future__ import annotations

import resource
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests
import uvicorn
from support.forked import Running, fork_server
from support.shop import COMMAND, TIMEOUT_S, Shop, copied_sample_model, environment_of, sample_products

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.applications import Starlette

SOME = 4  # of the products that are no mugs, every so many


@dataclass(frozen=True)
class Service:
    """A service that runs: its address, which ends in a slash, its shop, and the token it asks for."""

    address: str
    shop: Shop
    process: Running
    log: Path
    token: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask with the token, unless other headers are given."""
        options.setdefault("headers", {"Authorization": f"Bearer {self.token}"} if self.token else {})
        return self.session.request(method, self.address + path, timeout=60, **options)

    def search(self, **query: Any) -> list[dict[str, Any]]:
        """Search with JSON, which must go well."""
        answer = self.ask("POST", "v1/search", json=query)
        assert answer.status_code == 200, answer.text
        hits: list[dict[str, Any]] = answer.json()["hits"]
        return hits


@contextmanager
def serving(
    shop: Shop, *arguments: str | Path, token: str = "", descriptors: int = 0, **environment: str
) -> Iterator[Service]:
    """Start the command on a free port, and stop it at the end, which must go well.

    `descriptors` limits how many files it may open.
    """
    log = shop.folder / "serve.log"
    if token:
        environment["INGEST_SERVE_TOKEN"] = token
    command = [COMMAND, "serve", "--port", "0", *arguments]
    limits = [("resource", "setrlimit", [resource.RLIMIT_NOFILE, [descriptors] * 2])] if descriptors else []
    process = fork_server().start(command, shop.folder, environment_of(environment), log=log, before=limits)
    try:
        made = Service(_address(process, log), shop, process, log, token)
        with made.session:
            yield made
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


def _address(process: Running, log: Path) -> str:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for line in log.read_text(encoding="utf-8").splitlines():
            if "serving at " in line:
                return line.partition("serving at ")[2].partition(" ")[0]
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError(f"it did not start: {log.read_text(encoding='utf-8')}")


@contextmanager
def in_thread(app: Starlette) -> Iterator[str]:
    """Serve an application in this process; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()


def stock(shop: Shop) -> None:
    """Put on sale: all mugs and some other products, three that share pictures, and two that have none."""
    products = [
        product for number, product in enumerate(sample_products(300))
        if product["category"] == "mugs" or number % SOME == 0
    ]  # fmt: skip
    again = [{**products[at], "product_id": f"Q{number}"} for number, at in enumerate((0, 0, 5))]
    broken = [{**products[0], "product_id": f"X{number}", "image": f"images/X{number}.jpg"} for number in (1, 2)]
    shop.stock([*products, *again, *broken])
    (shop.images / "X1.jpg").write_bytes(b"no picture")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve a part of the sample catalog with a token; shared by all tests, which change nothing."""
    folder = tmp_path_factory.mktemp("service")
    shop = Shop(folder / "shop", copied_sample_model(folder / "clip"))
    stock(shop)
    shop.run()
    with serving(shop, token="open-sesame") as made:
        yield made
