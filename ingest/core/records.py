"""What travels down the line: frozen records, and the closed list of reasons for leaving it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Scalar: TypeAlias = str | int | float | bool
"""A metadata value as the contract types it: VARCHAR, INT64, DOUBLE or FLOAT, BOOL."""


class Stage(StrEnum):
    """The stages of the line, in order; the names users see in bars, reports and `skipped.csv`."""

    CATALOG = "catalog"
    IMAGES = "images"
    DECODE = "decode"
    EMBEDDING = "embedding"
    STORE = "store"
    MILVUS = "milvus"


class Reason(StrEnum):
    """Why a product left the line. `heals` says whether a later run may succeed with nothing changed here."""

    NO_ID = "no id"
    ID_TOO_LONG = "id too long"
    DUPLICATE_ID = "duplicate id"
    NO_IMAGE = "no image"
    BAD_ROW = "bad row"
    BAD_METADATA = "bad metadata"
    NOT_DOWNLOADED = "not downloaded"
    DNS = "dns"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    TLS = "tls"
    BAD_ANSWER = "bad answer"
    NOT_FOUND = "not found"
    HTTP_429 = "http 429"
    HTTP_4XX = "http 4xx"
    HTTP_5XX = "http 5xx"
    HOST_RESTING = "host resting"
    BLOCKED_ADDRESS = "blocked address"
    DISALLOWED = "disallowed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too large"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    TOO_SMALL = "too small"
    BLANK = "blank"
    BAD_VECTOR = "bad vector"
    FOREIGN_ROW = "foreign row"
    KILLED_WORKER = "killed worker"

    @property
    def is_transient(self) -> bool:
        """Whether the same command may succeed later: the cause lies in the network or a server, not in the data.

        What only another flag can heal, such as an image that was not downloaded, does not.
        """
        return self in _TRANSIENT

    @property
    def depends_on_settings(self) -> bool:
        """Whether other settings, a limit or an address let in, may let it pass: each run looks again."""
        return self in _DEPEND_ON_SETTINGS

    @property
    def remedy(self) -> str:
        """What to do about it, to end a message with."""
        return _REMEDIES.get(self, "run again" if self.is_transient else "correct the catalog, as skipped.csv says")


_TRANSIENT = frozenset(
    {
        Reason.DNS,
        Reason.CONNECT,
        Reason.TIMEOUT,
        Reason.TLS,
        Reason.BAD_ANSWER,
        Reason.HTTP_429,
        Reason.HTTP_5XX,
        Reason.HOST_RESTING,
        Reason.UNREADABLE,
        Reason.TRUNCATED,
    }
)
_DEPEND_ON_SETTINGS = frozenset({Reason.BLOCKED_ADDRESS, Reason.DISALLOWED, Reason.TOO_LARGE})
_REMEDIES = {
    Reason.NOT_DOWNLOADED: "run again with --download-missing",
    Reason.BLOCKED_ADDRESS: "if you trust the host, allow it with --allow-host NAME",
    Reason.DISALLOWED: "name the images' folder with --images-root, or let ingest read them, as skipped.csv says",
    Reason.NOT_FOUND: "correct the addresses or put the images there; URLs that failed need --retry-failed",
    Reason.HTTP_4XX: "correct the addresses, or let ingest in (--host-headers); then run again with --retry-failed",
    Reason.TLS: "if the host's certificate is in order, run again",
    Reason.TOO_LARGE: "raise --max-image-bytes or --max-pixels",
    Reason.NOT_AN_IMAGE: "correct the images; URLs that failed need --retry-failed",
    Reason.TOO_SMALL: "lower --min-side, or provide larger images",
    Reason.BLANK: "leave out --skip-blank, or provide other images",
    Reason.BAD_VECTOR: "try --dtype float32, and check the model with ingest doctor",
    Reason.FOREIGN_ROW: "delete the rows that ingest did not write, or rename the products",
    Reason.KILLED_WORKER: "give the workers more memory",
}


class Product(NamedTuple):
    """One good row of the catalog.

    `image` is what the catalog says, a URL or a path. `metadata` holds the contract's fields in its types
    and, where the contract keeps them, the other columns as text. `line` is 1-based, as an editor counts, in `file`,
    whose path is from the catalog's folder.
    """

    product_id: str
    image: str
    metadata: Mapping[str, Scalar]
    line: int
    file: str = ""

    def skipped(self, stage: Stage, reason: Reason, detail: str) -> Skipped:
        """Return what it is instead where it cannot go on."""
        return Skipped(self.product_id, stage, reason, detail, self.line, self.file)


class ImageFile(NamedTuple):
    """A product whose picture's bytes are on disk at `path`; `sha256` is their digest, 32 bytes."""

    product: Product
    path: Path
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as pixels that fit the model: `pixels` is (size, size, 3) uint8, RGB."""

    product: Product
    sha256: bytes
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A product with its vector: `vector` is (dim,) float32 of unit length, `stored` whether it came from the store."""

    product: Product
    sha256: bytes
    vector: NDArray[np.float32]
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A product that cannot go on, as a value: where, why, and what the cause said.

    `is_torn` says that its row is broken as a row: the id read from it may not be the one that was meant.
    """

    product_id: str
    stage: Stage
    reason: Reason
    detail: str
    line: int
    file: str = ""
    is_torn: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as it should be: what kind, of which product (or which thing), and how."""

    kind: str
    name: str
    detail: str
