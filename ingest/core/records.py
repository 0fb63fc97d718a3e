"""Records that pass through the pipeline, and the closed list of reasons for skipping a product."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Scalar: TypeAlias = str | int | float | bool
"""A metadata value as the contract types it: VARCHAR, INT64, DOUBLE or FLOAT, BOOL."""


class Stage(StrEnum):
    """The pipeline's stages in order, under the names that users see in bars, reports and `skipped.csv`."""

    CATALOG = "catalog"
    IMAGES = "images"
    DECODE = "decode"
    EMBEDDING = "embedding"
    STORE = "store"
    MILVUS = "milvus"


class Reason(StrEnum):
    """Why a product was skipped."""

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
        """Whether the same command may succeed later: the cause is in the network or a server, not in the data.

        False for what needs another flag, such as an image that was not downloaded.
        """
        return self in _TRANSIENT

    @property
    def passes_to_next_image(self) -> bool:
        """Whether another image of the product is used instead: not if this one may be usable in another run."""
        return not self.is_transient and self is not Reason.NOT_DOWNLOADED

    @property
    def depends_on_settings(self) -> bool:
        """Whether other settings, such as a limit or an allowed address, may help: each run tries again."""
        return self in _DEPEND_ON_SETTINGS

    @property
    def remedy(self) -> str:
        """What to do about it, as the end of a message."""
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
    Reason.DISALLOWED: "set the images' folder with --images-root, or let ingest read them, as skipped.csv says",
    Reason.NOT_FOUND: "correct the addresses or add the images; URLs that failed need --retry-failed",
    Reason.HTTP_4XX: "correct the addresses, or give access by --host-headers; then run again with --retry-failed",
    Reason.TLS: "if the host's certificate is in order, run again",
    Reason.TOO_LARGE: "raise --max-image-bytes or --max-pixels",
    Reason.NOT_AN_IMAGE: "correct the images; URLs that failed need --retry-failed",
    Reason.TOO_SMALL: "lower --min-side, or provide larger images",
    Reason.BLANK: "remove --skip-blank, or provide other images",
    Reason.BAD_VECTOR: "try --dtype float32, and check the model with ingest doctor",
    Reason.FOREIGN_ROW: "delete the rows that ingest did not write, or rename the products",
    Reason.KILLED_WORKER: "give the workers more memory",
}


class PickledByFields:
    """Pickles a frozen dataclass with slots in a third of the time: the state that Python makes looks up its fields."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        """Return the class and the values of its fields."""
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class Product(NamedTuple):
    """One valid row of the catalog.

    `image` is the catalog's URL or path. `metadata` holds the contract's fields in its types and, if the contract keeps
    them, the other columns as text. `line` is 1-based, as in an editor, in `file`, a path relative to the catalog's
    folder. `more_images` are to be tried, in order, if `image` is unusable for good; `position` counts those that were.
    """

    product_id: str
    image: str
    metadata: Mapping[str, Scalar]
    line: int
    file: str = ""
    more_images: tuple[str, ...] = ()
    position: int = 0

    def with_next_image(self, fields: Iterable[str]) -> Product:
        """Return the product with the next of its images, which these of its metadata fields name too."""
        image, *more = self.more_images
        metadata = {**self.metadata, **{name: image for name in fields if name in self.metadata}}
        return self._replace(image=image, more_images=tuple(more), position=self.position + 1, metadata=metadata)

    def skipped(self, stage: Stage, reason: Reason, detail: str) -> Skipped:
        """Return the `Skipped` for this product."""
        return Skipped(self.product_id, stage, reason, detail, self.line, self.file)


class ImageFile(NamedTuple):
    """A product whose image is on disk at `path`; `sha256` is the digest of its bytes, 32 bytes.

    A file that had to be read to find its digest may be decoded on the same occasion: `decoded` is what came of that.
    """

    product: Product
    path: Path
    sha256: bytes
    decoded: Decoded | Skipped | None = None


class Crop(NamedTuple):
    """The part of an image that a model sees, not resized yet.

    `pixels` is (h, w, 3) uint8 RGB of any size, and `box` the part of it to be resized to the model's input: left, top,
    right, bottom, in pixels and fractions. What is around the box is what a resampling filter reaches.
    """

    pixels: NDArray[np.uint8]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Decoded(PickledByFields):
    """An image as the pixels that the model expects, (height, width, 3) uint8 RGB, or as what they are resized from."""

    product: Product
    sha256: bytes
    pixels: NDArray[np.uint8] | Crop


@dataclass(frozen=True, slots=True)
class Embedded(PickledByFields):
    """A product with its vector, (dim,) float32 of unit length.

    `stored` says that the store has the vector, or gets it with a product before this one.
    """

    product: Product
    sha256: bytes
    vector: NDArray[np.float32]
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Skipped(PickledByFields):
    """A product that cannot be processed, as a value: the stage, the reason, and details of the cause.

    `is_torn` means that the row itself is broken, so the id read from it may be wrong.
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
    """One thing that does not match: its kind, the product (or thing) by name, and what is different."""

    kind: str
    name: str
    detail: str
