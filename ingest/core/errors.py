"""Every error that ends a run, with its exit code.

    IngestError                     1   a bug; never raised as such
    ├── InputError                  3   bad input
    │   ├── CatalogError                the catalog file as a whole
    │   │   └── AmbiguousCatalogError       it can be read in two ways, and a flag decides
    │   ├── ContractError               schema/products.toml
    │   ├── ConfigError                 ingest.toml
    │   ├── QueryError                  a search that cannot run: its image, product id or filter
    │   ├── ExportError                 an exported file that is missing or does not match the others
    │   ├── PruneRefusedError           too many rows to delete, or an unreadable catalog; everything else is done
    │   ├── StorageError                a full disk, a folder or a bucket that cannot be written
    │   ├── EngineError                 Ray: not installed, not reachable, or it returns no work; no process starts
    │   └── ClusterSizeError            Ray's cluster lacks what --actors asks for; on the command line a usage error, 2
    ├── TooManySkippedError         4   done, but more products were skipped than --max-skipped allows
    ├── MilvusError                 5   the server, the collection, or the rights to it
    ├── ModelError                  6   the model: unavailable, cannot be loaded, or does not match the collection
    ├── VerificationError           7   collection or files do not match the catalog
    ├── BusyError                   8   another run holds the data
    ├── NoTorchError                9   torch is not installed, so nothing was embedded
    ├── NotLiveError               10   nothing usable was built, or apps do not find it
    └── InterruptedRunError       130   Ctrl-C or SIGTERM; work in progress was written

A message is one line: the thing, what is wrong, what to do. A product that cannot be processed is not an error but a
value, `records.Skipped`. Constructors take positional arguments only, so that errors pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class IngestError(Exception):
    """The root; `exit_code` is what the command line exits with.

    `result` is what was done all the same, or found, for callers of the Python API: what the function would have
    returned. None if there is nothing.
    """

    result: Any = None
    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "an internal error, a bug of ingest: one line on the terminal, the traceback in a log file"


class InputError(IngestError):
    """Some input cannot be used."""

    exit_code = 3
    meaning = "bad input: catalog, contract, config, query, an exported file, or a disk that cannot be written"


class CatalogError(InputError):
    """The catalog as a whole cannot be read: missing, empty, not UTF-8, or without a required column."""


class AmbiguousCatalogError(CatalogError):
    """The catalog can be read in two ways; the message names both, and the flag that decides."""


class ContractError(InputError):
    """The contract file is missing or says something that Milvus cannot hold."""


class ConfigError(InputError):
    """The configuration file is broken or has a key that does not exist."""


class QueryError(InputError):
    """A search cannot run: an unreadable image, an unknown product id, or an invalid filter."""


class ExportError(InputError):
    """An exported file is missing or does not match the others."""


class PruneRefusedError(InputError):
    """Rows were not deleted: too many, or the catalog cannot be read in full. Everything else is done."""


class StorageError(InputError):
    """The disk is full, or a folder or bucket cannot be written."""


class EngineError(InputError):
    """Ray is not installed, its cluster cannot be reached or returns no work; or a worker process cannot be started."""


class ClusterSizeError(InputError):
    """The Ray cluster does not have what --actors and --gpus-per-actor ask for. The command line exits with 2."""


class TooManySkippedError(IngestError):
    """The run is done, but more products were skipped than allowed."""

    exit_code = 4
    meaning = "done, but more products were skipped than `--max-skipped` allows"


class MilvusError(IngestError):
    """Milvus cannot be reached, refuses a request, or holds a collection that does not match."""

    exit_code = 5
    meaning = "Milvus: not reachable, refused, or a collection that does not match"


class ModelError(IngestError):
    """The model is unavailable, cannot be loaded, or does not match the collection."""

    exit_code = 6
    meaning = "model: unavailable, cannot be loaded, or does not match the collection"


class VerificationError(IngestError):
    """The collection or the exported files do not match the catalog."""

    exit_code = 7
    meaning = "verification: collection or files do not match the catalog"


class BusyError(IngestError):
    """Another run holds the data folder or the Milvus Lite file."""

    exit_code = 8
    meaning = "another run holds the data"


class NoTorchError(IngestError):
    """torch or transformers cannot be imported; the preprocessed images are saved."""

    exit_code = 9
    meaning = "torch is not installed, so nothing was embedded; the preprocessed images are saved"


class NotLiveError(IngestError):
    """Nothing usable was built, the alias serves another collection, or the exports were refused."""

    exit_code = 10
    meaning = "not live: nothing usable was built, the alias serves another collection, or exports were refused"


class InterruptedRunError(IngestError):
    """Ctrl-C or SIGTERM: work in progress was written, and the next run continues."""

    exit_code = 130
    meaning = "interrupted; work in progress was written, and the next run continues"


PRECEDENCE: tuple[type[IngestError], ...] = (
    InterruptedRunError,
    BusyError,
    ModelError,
    MilvusError,
    VerificationError,
    NotLiveError,
    InputError,
    TooManySkippedError,
)
"""If several apply, the exit code is that of the first of these."""


def foremost(found: Iterable[IngestError]) -> IngestError | None:
    """Return the error that comes first in `PRECEDENCE`; None if there is none."""
    return min(found, key=lambda error: [isinstance(error, kind) for kind in PRECEDENCE].index(True), default=None)
