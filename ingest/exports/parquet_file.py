"""The vectors with the products' typed fields as one Parquet file, for DuckDB, pandas and whatever else reads it.

Columns: `product_id`, the contract's fields in their types (null for a missing number), and the vector as a list of
fixed size. The file's key-value metadata has the contract as JSON, under the name that it has in the collection.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.contract import PRIMARY_KEY, PROPERTY, to_json
from ingest.core.errors import StorageError
from ingest.exports.manifest import ChecksumWriter, Manifest, checksum_faults, manifest_path, read_manifest
from ingest.runtime.atomic_files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from ingest.core.contract import Contract, Space
    from ingest.core.records import Scalar
    from ingest.exports.field_list import ExportFields
    from ingest.exports.manifest import FileChecksum

_GROUP_BYTES = 32 * 2**20  # of a row group's vectors, which are in memory at once


class ParquetExport:
    """A Parquet file to be written at `path`; `fields` are noted while the catalog is read."""

    def __init__(self, path: Path, contract: Contract, space: Space, fields: ExportFields) -> None:
        self.path = path
        self.fields = fields
        self.contract = contract
        self.dim = space.dim
        self.described = to_json(contract, space)

    def content(self, rows: str) -> str:
        """Return 64 hex digits over the rows, given their own digest, their fields and the contract."""
        return hashlib.sha256(f"{rows} {self.fields.content} {self.described}".encode()).hexdigest()

    def is_current(self, rows: str, fingerprint: str) -> bool:
        """Return whether the file was made from exactly these rows and fields."""
        manifest = read_manifest(self.path)
        return manifest is not None and manifest.matches(self.content(rows), fingerprint, self.path)

    def manifest(self, rows: int, content: str, fingerprint: str, checksum: FileChecksum) -> Manifest:
        """Return the manifest of a file with this many rows, given the digest of the rows."""
        return Manifest(rows, self.dim, fingerprint, self.content(content), {self.path.name: checksum})


class ParquetTable:
    """The file while it is written; it gets its name when the `stack` is closed without an error."""

    def __init__(self, stack: ExitStack, export: ParquetExport) -> None:
        from pyarrow import parquet

        self._sink = _Sink(ChecksumWriter(stack.enter_context(atomic_write(export.path)), export.path))
        self._schema = _schema(export)
        self._noted = export.fields.rows()
        self._rows_at_once = max(1, _GROUP_BYTES // (4 * export.dim))
        self._rows: list[list[Scalar | None]] = []
        self._vectors: list[NDArray[np.float32]] = []
        texts = [PRIMARY_KEY, *(field.name for field in export.contract.fields if field.type == "VARCHAR")]
        with self._sink.errors():
            self._writer = parquet.ParquetWriter(
                self._sink, self._schema, use_dictionary=texts[1:],
                compression={column: "none" if ".list." in column else "zstd" for column in _leaves(self._schema)},
            )  # fmt: skip

    def add(self, names: list[str], vectors: NDArray[np.float32]) -> None:
        """Append rows: product ids in catalog order, and their vectors, (n, dim) float32."""
        self._rows += ([name, *self._values(name)] for name in names)
        self._vectors.append(vectors)
        if len(self._rows) >= self._rows_at_once:
            self._write_group()

    def finish(self) -> FileChecksum:
        """Write what is left, and return the file's checksum."""
        if self._rows:
            self._write_group()
        with self._sink.errors():
            self._writer.close()
        return self._sink.file.checksum()

    def _values(self, name: str) -> list[Scalar | None]:
        for product_id, values in self._noted:
            if product_id == name:
                return values
        raise LookupError(f"{name} was not noted, or not in this order")

    def _write_group(self) -> None:
        import pyarrow as pa

        *kinds, vector = self._schema.types
        columns = [pa.array(column, kind) for column, kind in zip(zip(*self._rows, strict=True), kinds, strict=True)]
        numbers = np.concatenate(self._vectors).astype(np.float32, copy=False).reshape(-1)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=vector))
        with self._sink.errors():
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._vectors = [], []


class _Sink:
    """The file as pyarrow writes to it. It adds a traceback to the message of an error, so the error is kept here."""

    closed = False

    def __init__(self, file: ChecksumWriter) -> None:
        self.file = file
        self._error: StorageError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(bytes(data))
        except StorageError as error:
            self._error = error
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what `write` raised in the block."""
        try:
            yield
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise


def faults(path: Path, export: ParquetExport | None, rows: str, fingerprint: str) -> list[tuple[Path, str]]:
    """Return what is wrong with the file: its checksum, and whether it was made from what `export` would be now."""
    manifest = read_manifest(path)
    if manifest is None:
        return [(manifest_path(path), "is missing or damaged")]
    if found := checksum_faults(manifest, path):
        return found
    if export is not None and not export.is_current(rows, fingerprint):
        return [(path, "was written from another catalog or model")]
    return []


def _schema(export: ParquetExport) -> pa.Schema:
    import pyarrow as pa

    kinds = {"VARCHAR": pa.string(), "INT64": pa.int64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
             "BOOL": pa.bool_()}  # fmt: skip
    return pa.schema(
        [
            pa.field(PRIMARY_KEY, pa.string(), nullable=False),
            *(pa.field(field.name, kinds[field.type]) for field in export.contract.fields),
            pa.field(export.contract.index.field, pa.list_(pa.field("element", pa.float32()), export.dim)),
        ],
        {PROPERTY: export.described},
    )


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the columns' paths as Parquet has them."""
    return [*schema.names[:-1], f"{schema.names[-1]}.list.element"]
