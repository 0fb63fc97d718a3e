"""docker-compose.yml: a volume for each version, which the server may write to, and no port open to the network."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from support.shop import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return found


def filled(text: str, **environment: str) -> str:
    """Return a value as Compose fills it in, the innermost variable first."""
    variable = re.compile(r"\$\{(\w+):-([^${}]*)\}")
    while match := variable.search(text):
        text = text[: match.start()] + (environment.get(match[1]) or match[2]) + text[match.end() :]
    return text


def test_the_volume_is_named_for_the_version_of_the_image(compose: dict[str, Any]) -> None:
    name, image = compose["volumes"]["milvus"]["name"], compose["services"]["milvus"]["image"]
    assert filled(image) == "milvusdb/milvus:v2.6.16"
    assert filled(name) == "ingest_milvus_2.6"
    assert filled(name, MILVUS_MAJOR="3.0") == "ingest_milvus_3.0"
    assert filled(name, MILVUS_VOLUME="ingest_milvus", MILVUS_MAJOR="2.6") == "ingest_milvus"


def test_the_volume_is_given_to_the_server_before_it_starts(compose: dict[str, Any]) -> None:
    once, server = compose["services"]["volume"], compose["services"]["milvus"]
    assert once["image"] == server["image"]
    assert once["volumes"] == server["volumes"]
    assert server["depends_on"]["volume"]["condition"] == "service_completed_successfully"
    assert "restart" not in once


def test_the_message_queue_is_named_and_only_this_machine_reaches_the_server(compose: dict[str, Any]) -> None:
    server = compose["services"]["milvus"]
    assert server["environment"]["MQ_TYPE"] == "rocksmq"
    assert {port.rpartition(":")[2] for port in server["ports"]} >= {"19530"}
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
