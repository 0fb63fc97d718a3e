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


def test_plain_up_starts_milvus_alone_and_the_profile_runs_ingest_beside_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {name for name, service in services.items() if "profiles" not in service} == {"volume", "milvus"}
    beside = {name: services[name] for name in ("ingest", "serve")}
    for service in beside.values():
        assert service["profiles"] == ["ingest"]
        assert filled(service["user"]) == "1000"
        assert service["depends_on"]["milvus"]["condition"] == "service_healthy"
        assert service["environment"]["INGEST_URI"] == "http://milvus:19530"
        assert service["volumes"] == ["${SHOP:-.}:/shop", "models:/models"]
    assert {name: service["command"] for name, service in beside.items()} == {"ingest": ["run"], "serve": ["serve"]}


def test_the_page_is_offered_to_this_machine_and_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    service = compose["services"]["serve"]
    assert service["ports"] == ["127.0.0.1:8900:8900"]
    assert filled(service["environment"]["INGEST_SERVE_TOKEN"].replace(":-}", ":-none}")) == "none"
    assert filled(service["environment"]["MILVUS_TOKEN"].replace(":-}", ":-none}")) == "none"


def test_what_compose_builds_the_image_from_are_the_dockerfiles_arguments(compose: dict[str, Any]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", dockerfile, re.MULTILINE))
    arguments = compose["services"]["ingest"]["build"]["args"]
    assert {name: filled(value) for name, value in arguments.items()} == {
        name: defaults[name] for name in ("BASE", "TORCH_INDEX")
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert ignored.startswith("#")
    assert "\n*\n" in ignored
    assert all((ROOT / name).exists() for name in re.findall(r"^!(?!wheels)(.+)$", ignored, re.MULTILINE))
