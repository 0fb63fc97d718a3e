"""Every error that ends a run, and the exit code each ends it with.

    IngestError                     1   a bug of ours; never raised as such
    ├── InputError                  3   bad input
    │   ├── CatalogError                the catalog file as a whole
    │   ├── ContractError               schema/products.toml
    │   ├── ConfigError                 ingest.toml
    │   ├── QueryError                  a search that cannot be made: its picture, product id or filter
    │   ├── ExportError                 a file that should have been exported before
    │   ├── PruneRefusedError           deleting rows would be too much, or the catalog is in doubt; the rest is done
    │   ├── StorageError                a disk that is full, a folder or a bucket that cannot be written
    │   └── EngineError                 Ray: not installed, not to be reached, or it gives nothing back
    ├── TooManySkippedError         4   done, but more products were skipped than --max-skipped allows
    ├── MilvusError                 5   the server, the collection, or the rights to it
    ├── ModelError                  6   the model cannot be had, loaded, or does not fit
    ├── VerificationError           7   what is there is not what should be
    ├── BusyError                   8   another run holds the data
    ├── NoTorchError                9   embedded nothing for want of torch
    ├── NotLiveError               10   nothing usable was made, or it is not what apps find
    └── InterruptedRunError       130   Ctrl-C or SIGTERM; what was in flight is written

A message is one line: it names the thing, the place and the way out. A product that cannot go on is not an
error but a value, `records.Skipped`. Constructors take positional arguments only, so that errors pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class IngestError(Exception):
    """The root; `exit_code` is what the command line exits with."""

    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "a bug of ours: one line on the terminal, the traceback in a log file"


class InputError(IngestError):
    """Something the user gave cannot be used."""

    exit_code = 3
    meaning = "bad input: catalog, contract, config, query, an exported file, or a disk that cannot be written"


class CatalogError(InputError):
    """The catalog as a whole cannot be read: not there, empty, not UTF-8, a column missing."""


class ContractError(InputError):
    """The contract file is missing or says something that Milvus cannot hold."""


class ConfigError(InputError):
    """The configuration file is broken or has a key that does not exist."""


class QueryError(InputError):
    """A search cannot be made: a picture that cannot be read, an id that is not there, a filter with a mistake."""


class ExportError(InputError):
    """An exported file is missing or does not fit its neighbours."""


class PruneRefusedError(InputError):
    """Rows were not deleted: too many, or the catalog is in doubt. All else is done."""


class StorageError(InputError):
    """The disk is full, or a folder cannot be written."""


class EngineError(InputError):
    """Ray is not installed, its cluster cannot be reached, or no work comes back from it."""


class TooManySkippedError(IngestError):
    """The run is done, but more products were skipped than allowed."""

    exit_code = 4
    meaning = "done, but more products were skipped than `--max-skipped` allows"


class MilvusError(IngestError):
    """Milvus cannot be reached, refuses, or holds something that does not fit."""

    exit_code = 5
    meaning = "Milvus: not reachable, refused, or a collection that does not fit"


class ModelError(IngestError):
    """The model cannot be had, loaded, or is not the one the collection was built with."""

    exit_code = 6
    meaning = "the model: not to be had, not loadable, or not the collection's"


class VerificationError(IngestError):
    """What is there is not what should be."""

    exit_code = 7
    meaning = "verification: what is there is not what should be"


class BusyError(IngestError):
    """Another run holds the data folder or the Milvus Lite file."""

    exit_code = 8
    meaning = "another run holds the data"


class NoTorchError(IngestError):
    """torch or transformers cannot be imported; the preprocessed pictures are saved."""

    exit_code = 9
    meaning = "embedded nothing for want of torch; the preprocessed pictures are saved"


class NotLiveError(IngestError):
    """Nothing usable was made, the alias does not serve this run's collection, or the exports were refused."""

    exit_code = 10
    meaning = "not live: nothing usable was made, the alias serves another collection, or exports were refused"


class InterruptedRunError(IngestError):
    """Ctrl-C or SIGTERM: what was in flight is written, and the next run goes on."""

    exit_code = 130
    meaning = "interrupted; what was in flight is written, and the next run goes on"


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
"""Where several hold at once, the exit code is that of the first of these."""


def foremost(found: Iterable[IngestError]) -> IngestError | None:
    """Return the one of these errors that comes first in `PRECEDENCE`; None for none."""
    return min(found, key=lambda error: [isinstance(error, kind) for kind in PRECEDENCE].index(True), default=None)
