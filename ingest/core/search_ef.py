"""The ef of a collection: the schema's until one is measured; the collection's contract property has both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_EF = 32_768
"""The largest ef that Milvus accepts (https://milvus.io/docs/hnsw.md)."""


def add_measured(contract: Mapping[str, Any], ef: int | None) -> dict[str, Any]:
    """Return a contract in which apps read the measured ef, or the schema's if that is None.

    `ef` is the one to search with; `ef_schema` and `ef_measured` say where it comes from. Contracts of older versions
    have only the schema's, as `ef`.
    """
    default = contract.get("ef_schema", contract["ef"])
    return {**contract, "ef": default if ef is None else ef, "ef_schema": default, "ef_measured": ef}


def describe(contract: Mapping[str, Any]) -> str:
    """Return words for the ef that apps read, and where it comes from."""
    if contract.get("ef_measured") is None:
        return f"ef {contract['ef']} (the schema's; none was measured)"
    return f"ef {contract['ef']} (measured; the schema's is {contract['ef_schema']})"
