"""The catalog's rows as products: each a `Product`, or a `Skipped` that says why not.

Rows come in blocks, and a block is judged column by column: a fifth of the time. What is out of the ordinary in one is
left to `row`, which knows the rules one cell and one row at a time.
"""

from __future__ import annotations

import sys
from contextlib import closing
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.catalog import casting, files, formats, invisible_characters
from ingest.catalog.duplicates import FirstLines
from ingest.catalog.validation import MAX_DYNAMIC, InvalidRowError, row_rules, validate
from ingest.core.errors import CatalogError
from ingest.core.records import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ingest.catalog.files import CatalogFile
    from ingest.catalog.formats import RowBlock
    from ingest.catalog.validation import RowRules, TypedColumn
    from ingest.core.contract import Contract
    from ingest.core.records import Scalar, Skipped

T = TypeVar("T")


def read_catalog(catalog: Path | str, contract: Contract, columns: formats.Columns) -> Iterator[Product | Skipped]:
    """Return an iterator over the rows of a catalog, in order: each a Product, or a Skipped that says why not.

    The catalog is a file, a folder of part files or a glob, by its path or by its URL, a string; `files.list_files`
    says which files it is. `line` counts physical lines of its `file` from 1, as an editor does, and is where the row
    begins; in Parquet it is the number of the row. The first row with an id is the one that counts, even if it is
    broken or skipped. Memory grows with the ids alone. The format is known by the file's ending; text may be gzipped.

    Raises CatalogError, one line: at once where there is no such file or its ending is unknown, with the
    first item where the header is at fault, and at its place where text is not UTF-8 or a quote stays open.
    A storage that does not answer is a StorageError. After either no row may be missed as if it were not there.
    """
    return _products(catalog, files.list_files(catalog), row_rules(contract, columns))


def _products(catalog: Path | str, parts: list[CatalogFile], plan: RowRules) -> Iterator[Product | Skipped]:
    seen = FirstLines()
    last: int | None = None
    with closing(files.prefetch_files(parts)) as fetched:
        for file in fetched:
            seen.begin(file.name, last or 0)
            for block in formats.read(file, plan.columns, plan.needs, known=last is not None):
                last = block.lines[-1]
                yield from _judged(block, plan, seen)
    if last is None:
        raise CatalogError(f"{catalog}: is empty, it has no products")


def _judged(block: RowBlock, plan: RowRules, seen: FirstLines) -> list[Product | Skipped]:
    columns = plan.columns
    unfit: set[int] = set()  # places of rows that are no products; whatever stands for them in a column is not used

    def identity(cell: Any) -> str:
        product_id = plan.identity(cell)
        plan.check_length(product_id)
        return product_id

    fits = casting.surely_fits(plan.id_max_length)
    ids = _texts(block.column(columns.product_id), identity, fits, unfit)
    firsts = _firsts(ids, block, seen, unfit)
    unfit.update(firsts, block.faults)
    images = _texts(block.column(columns.image), plan.place, sys.maxsize, unfit)
    own = block._replace(columns={**block.columns, columns.product_id: ids, columns.image: images})
    metadata = _metadata(own, plan, unfit)
    judged: list[Product | Skipped] = list(map(Product, ids, images, metadata, block.lines, repeat(seen.file)))
    for at in unfit:
        judged[at] = validate(block.row(at), plan, seen.file, firsts.get(at, ""))
    return judged


def _firsts(ids: list[str], block: RowBlock, seen: FirstLines, nameless: set[int]) -> dict[int, str]:
    """Take note of the ids, those of broken rows too, and return where the first is of those that have been before."""
    noted = [at for at in range(len(ids)) if at not in nameless] if nameless else range(len(ids))
    lines = [seen.before + block.lines[at] for at in noted]
    found = seen.of([ids[at] for at in noted], lines).tolist()
    if found == lines:
        return {}
    return {at: seen.place(first) for at, line, first in zip(noted, lines, found, strict=True) if first != line}


def _metadata(block: RowBlock, plan: RowRules, unfit: set[int]) -> list[dict[str, Scalar]]:
    form = dict.fromkeys(typed.field.name for typed in plan.typed)
    rows: list[dict[str, Any]] = [form.copy() for _ in block.lines]
    for typed in plan.typed:
        name = typed.field.name
        for row, value in zip(rows, _typed(block.column(typed.source), typed, unfit), strict=True):
            row[name] = value
    length = 0
    for name, column in block.columns.items() if plan.keeps_others else ():
        if name in plan.hidden:
            continue
        others = column if casting.all_text(column) else list(map(casting.json_scalar, column))
        for row, other in zip(rows, others, strict=True):
            if other is not None:
                row[name] = other
        length += len(name) + max(len(str(other)) for other in others) + 6
    if length * 6 > MAX_DYNAMIC:  # one of the rows may have more than fits
        unfit.update(range(len(rows)))
    return rows


def _texts(column: Sequence[Any], exact: Callable[[Any], str], fits: int, unfit: set[int]) -> list[str]:
    """Return cells as `exact` does, which is not asked where all are ordinary and have at most `fits` characters."""
    if casting.all_text(column):
        texts = list(map(str.strip, column))
        joined = "".join(texts)
        if joined.isprintable() and not invisible_characters.may_have(joined) and max(map(len, texts)) <= fits:
            return texts
    return _each(column, exact, "", unfit)


def _typed(column: Sequence[Any], typed: TypedColumn, unfit: set[int]) -> Sequence[Scalar]:
    if typed.fits and casting.all_text(column) and max(map(len, column)) <= typed.fits:
        return column
    numbers = casting.doubles(column) if typed.field.type == "DOUBLE" else None
    if numbers is not None and typed.field.missing not in numbers:
        return numbers
    return _each(column, typed.value, "", unfit)


def _each(column: Sequence[Any], exact: Callable[[Any], T], instead: T, unfit: set[int]) -> list[T]:
    values = []
    for at, cell in enumerate(column):
        try:
            values.append(exact(cell))
        except InvalidRowError:
            unfit.add(at)
            values.append(instead)
    return values
