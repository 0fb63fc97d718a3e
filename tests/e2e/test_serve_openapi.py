"""The service against its own OpenAPI document: schemathesis sends what it allows, and what it does not."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from support.shop import run_in

if TYPE_CHECKING:
    from support.service import Service

SCHEMATHESIS = Path(sysconfig.get_path("scripts"), "schemathesis")
# Without `positive_data_acceptance`: no schema can say which filters parse and which ids exist.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "missing_required_header", "unsupported_method",
    "ignored_auth",
)  # fmt: skip


def test_no_request_ends_in_a_bug_or_an_answer_that_is_not_documented(service: Service) -> None:
    ended = run_in(
        service.shop.folder,
        [
            SCHEMATHESIS, "run", f"{service.address}openapi.json", "--header", f"Authorization: Bearer {service.token}",
            "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "20261124", "--workers", "2",
            "--checks", ",".join(CHECKS), "--warnings", "off",
        ],
    )  # fmt: skip

    assert ended.code == 0, ended.out
    assert "Traceback" not in service.log.read_text(encoding="utf-8")


def test_every_route_and_every_failure_is_documented(service: Service) -> None:
    document = service.ask("GET", "openapi.json").json()

    assert set(document["paths"]) >= {"/v1/search", "/v1/embed", "/v1/products/{product_id}/similar", "/v1/contract"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            guarded = path.startswith(("/v1/", "/metrics"))
            assert ("401" in operation["responses"]) == guarded == ("security" in operation), path
