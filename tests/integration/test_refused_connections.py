"""Servers that ask for a token, or speak TLS: what they refuse is one line with the way out, at once, and no secret."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support import certificates
from support.milvus_server import milvus_server
from support.shop import Ended, Shop, copied_sample_model, sample_products

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RIGHT, SECRET = "root:Milvus", "s3cret-of-nobody"  # the first is what every new server takes
KNOWN = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by the openssl command")


class Guarded(NamedTuple):
    """A server that asks for a token, behind TLS or not, and the authority that its certificate is of."""

    uri: str
    authority: Path


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """Start a server that asks for a token; give its URI."""
    with milvus_server(token=RIGHT, COMMON_SECURITY_AUTHORIZATIONENABLED="true") as server:
        yield server.uri


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Start one that speaks TLS too."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = certificates.authority(folder)
    certificates.context(folder, "127.0.0.1", begins="200101000000Z", ends="400101000000Z")
    settings = {
        "COMMON_SECURITY_AUTHORIZATIONENABLED": "true", "COMMON_SECURITY_TLSMODE": "1",
        "TLS_SERVERPEMPATH": "/certificates/127-0-0-1.pem", "TLS_SERVERKEYPATH": "/certificates/127-0-0-1.key",
        "TLS_CAPEMPATH": "/certificates/ca.pem",
    }  # fmt: skip
    with milvus_server(folder=folder, authority=authority, token=RIGHT, **settings) as server:
        yield Guarded(server.uri, authority)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("guarded")
    shop = Shop(folder / "shop", copied_sample_model(folder / "clip"))
    shop.stock(sample_products(4))
    return shop


def refused(ended: Ended, told: str) -> None:
    assert (ended.code, ended.out) == (5, "")
    (said,) = ended.said
    assert told in said
    assert SECRET not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["run", "verify", "collections"])
@pytest.mark.parametrize(
    ("token", "told"), [("", "missing authorization"), (f"root:{SECRET}", "check username and password")]
)
def test_no_token_and_a_wrong_one_are_told_at_once(plain: str, shop: Shop, command: str, token: str, told: str) -> None:
    ended = shop.ingest(command, "--uri", plain, "--max-wait", "600", MILVUS_TOKEN=token)

    refused(ended, told)
    refused(ended, "set MILVUS_TOKEN to user:password")


def test_the_right_token_lets_a_run_and_a_check_through(plain: str, shop: Shop) -> None:
    shop.run("--uri", plain, MILVUS_TOKEN=RIGHT)
    assert shop.ingest("verify", "--uri", plain, MILVUS_TOKEN=RIGHT).code == 0


def test_https_to_a_server_without_tls_is_told(plain: str, shop: Shop) -> None:
    uri = plain.replace("http:", "https:")
    refused(shop.ingest("run", "--uri", uri, "--max-wait", "600", MILVUS_TOKEN=RIGHT), "use http://")


def test_http_to_a_server_with_tls_is_told(tls: Guarded, shop: Shop) -> None:
    uri = tls.uri.replace("https:", "http:")
    refused(shop.ingest("run", "--uri", uri, "--max-wait", "600", MILVUS_TOKEN=RIGHT), "Then use https://")


def test_an_authority_that_is_not_known_is_told_with_how_to_name_it(tls: Guarded, shop: Shop) -> None:
    ended = shop.ingest("run", "--uri", tls.uri, "--max-wait", "600", MILVUS_TOKEN=RIGHT)
    refused(ended, f"{KNOWN}=ca.pem")


def test_a_wrong_token_behind_tls_is_told(tls: Guarded, shop: Shop) -> None:
    ended = shop.ingest("run", "--uri", tls.uri, **{KNOWN: tls.authority, "MILVUS_TOKEN": f"root:{SECRET}"})
    refused(ended, "set MILVUS_TOKEN to user:password")


def test_a_known_authority_and_the_right_token_let_a_run_through(tls: Guarded, shop: Shop) -> None:
    assert shop.run("--uri", tls.uri, **{KNOWN: tls.authority, "MILVUS_TOKEN": RIGHT})["upserted"] == 4
