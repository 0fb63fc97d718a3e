"""Checks the exported files: checksums, the catalog's rows, and whether the index finds what the collection finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.core.records import Mismatch
from ingest.exports import faiss_index, npy_files, parquet_file
from ingest.exports.manifest import ALTERED, read_manifest
from ingest.milvus import checks
from ingest.pipeline import export_files
from ingest.pipeline.export_content import ExportPaths, rows_to_export
from ingest.sync.prune import PrunePolicy
from ingest.tasks.verdict import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff
    from ingest.tasks.verdict import Verdict

_QUERIES = 100
_ALLOWED = "ingest run --allow-smaller"
_OVERLAP = 0.9
"""The share of the top 10 that the FAISS files and the collection must have in common: both are approximate."""


def check(
    pipeline: Pipeline, collection: Collection, difference: CollectionDiff, sampled: list[str], verdict: Verdict
) -> Iterator[Mismatch]:
    """Check the exported files against their checksums and the catalog, and the index against the collection.

    Files that a run would not replace, because too many products would be lost, belong to an older catalog and maybe
    to another model: only their checksums are checked.
    """
    settings, dim = pipeline.settings, pipeline.space.dim
    files = ExportPaths(settings.npy, settings.npy_ids)
    drops = PrunePolicy.of(settings).drops_failed(difference)
    rows = rows_to_export(pipeline, files, difference.inventory, drops_failed=drops)
    refused = export_files.refusal(pipeline, files, rows)
    made_from = None if refused else (npy_files.content_digest(rows, pipeline.store), pipeline.space.fingerprint)
    if refused:
        verdict.notes.append(f"ingest run leaves the exported files as they are: {refused}")
        last = read_manifest(files.npy)
        dim = last.dim if last else dim
    own = [*npy_files.faults(files.npy, files.ids, made_from), *faiss_index.faults(settings.indexes, dim, files.npy)]
    of_parquet = _parquet_faults(pipeline, made_from)
    faults = own + of_parquet
    for number, (path, fault) in enumerate(faults):
        fix = "ingest run" if number < len(own) else "ingest export --parquet"
        if fault == ALTERED:
            fix = "ingest verify --repair"  # a run only checks sizes
        yield Mismatch("file", str(path), f"{fault}; write it with: {_ALLOWED if refused else fix}")
    if faults or refused or not sampled:
        return
    verdict.overlap = _overlap(collection, faiss_index.open_index(settings.indexes, dim), sampled[:_QUERIES])
    if verdict.overlap is not None and verdict.overlap < _OVERLAP:
        yield Mismatch("search", str(settings.indexes), f"shares {verdict.overlap:.1%} of the collection's top {TOP}")


def _parquet_faults(pipeline: Pipeline, made_from: tuple[str, str] | None) -> list[tuple[Path, str]]:
    """Return what is wrong with the Parquet file, if it is wanted: a run without --parquet leaves it as it was."""
    path = pipeline.settings.parquet_file
    if not pipeline.settings.parquet:
        return []
    export = export_files.parquet_export(pipeline, path) if made_from else None
    return parquet_file.faults(path, export, *(made_from or ("", "")))


def _overlap(collection: Collection, index: faiss_index.FaissIndex, product_ids: list[str]) -> float | None:
    """Return the share of the collection's top 10 that the FAISS files find too, None if nothing can be compared."""
    found = collection.find(product_ids, [collection.contract.index.field])
    queries = [np.asarray(row[collection.contract.index.field], np.float32) for row in found]
    answers = collection.search(queries, TOP, checks.WIDE_EF)
    shared = total = 0
    for query, hits in zip(queries, answers, strict=True):
        if not checks.reaches(query, hits):
            continue  # one of many near duplicates that no search reaches, or a difference that is reported already
        nearest = index.search(query, TOP, checks.WIDE_EF)
        worst = min(score for _, score in nearest) - checks.CROWDED  # of near duplicates, others may be found
        known = [hit for hit in hits if hit.pk in index.known]  # without products that left the catalog
        shared += sum(float(hit["distance"]) >= worst for hit in known)
        total += len(known)
    return shared / total if total else None
