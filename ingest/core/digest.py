"""The digest of a row: what `ingest` compares to see whether a product has changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ingest.core import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest.core.records import Product, Scalar


def row_digest(product: Product, sha256: bytes, fingerprint: str) -> str:
    """Return 32 hex digits that change when the image, the embedding space or the row's metadata does."""
    content = sha256 + fingerprint.encode() + canonical_json.encode(product.metadata).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def row_digests(metadata: Sequence[Mapping[str, Scalar]], shas: Iterable[bytes], fingerprint: str) -> list[bytes]:
    """Return for each row the 16 bytes that `row_digest` writes as hex, from its metadata and its image's SHA-256."""
    space = fingerprint.encode()
    rows = zip(shas, canonical_json.encode_rows(metadata), strict=True)
    return [hashlib.sha256(sha + space + content.encode()).digest()[:16] for sha, content in rows]
