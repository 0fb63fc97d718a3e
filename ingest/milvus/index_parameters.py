"""Parameters of the index over the vectors, and how an existing index differs from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.contract import Contract


def index_params(contract: Contract) -> Any:
    """Return the parameters of the contract's index over its vector field."""
    from pymilvus import MilvusClient

    index = contract.index
    params = MilvusClient.prepare_index_params()
    params.add_index(
        index.field,
        index_type=index.type,
        metric_type=index.metric,
        params={"M": index.m, "efConstruction": index.ef_construction},
    )
    return params


def index_misfits(description: Mapping[str, Any] | None, contract: Contract) -> list[str]:
    """Return how an index differs from the contract's; Lite does not report M and efConstruction."""
    if description is None:
        return []
    index = contract.index
    wanted = {
        "index_type": index.type,
        "metric_type": index.metric,
        "M": index.m,
        "efConstruction": index.ef_construction,
    }
    return [
        f"its index has {key} {description[key]}, the contract {value}"
        for key, value in wanted.items()
        if key in description and str(description[key]) != str(value)
    ]
