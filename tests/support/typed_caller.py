"""A program that uses `import ingest`, for mypy alone: `make lint` checks it with `--strict`, and nothing runs it.

Each mistake is marked with the error that a type checker must report; mypy reports marks that are not needed, too.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import ingest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from PIL.Image import Image


def run() -> ingest.RunSummary:
    """Call the functions."""
    stop = threading.Event()
    plan = ingest.plan("products.csv", model=Path("clip"), prune=True)
    assert_type(plan, ingest.Plan)
    assert_type([one.product_id for one in plan.changes()], list[str])
    summary = ingest.run(
        Path("products.csv"), uri="http://localhost:19530", batch_size="auto", max_skipped="5%", actors=4,
        allow_host=["a", "b"], images_root=None, progress=lambda event: (event.stage, event.items), stop=stop,
    )  # fmt: skip
    assert_type(summary.reasons, dict[str, int])
    ingest.fetch(catalog="products.csv", download_workers=8, progress=True)
    ingest.embed("products.csv", output="x.npy", meta=Path("x.json"))
    ingest.export("products.csv")
    verdict = ingest.verify("products.csv", sample=10, embed=5, seed=1, repair=True)
    assert_type([found.kind for found in verdict.differing], list[str])
    return summary


def search(image: Image, pixels: NDArray[np.uint8]) -> pd.DataFrame:
    """Search, and embed."""
    with ingest.connect("http://localhost:19530", token="…", data="data") as products:
        hits = products.search("red mug", image=image, filter="price < 20", limit=5)
        assert_type(hits[0], ingest.Hit)
        assert_type(hits[:2], ingest.Hits)
        assert_type(hits[0].score, float)
        products.similar("P0017", diverse=True, balance=0.3)
        products.recommend(["P0017", "P0021"], other="category")
    encoder = ingest.load_encoder("clip", device=["cuda:0", "cuda:1"])
    encoder.texts(["red mug"]) @ encoder.images([image, pixels, "a.jpg", Path("b.jpg"), b"\xff"]).T
    return hits.to_pandas()


def mistakes() -> None:
    """Make mistakes."""
    ingest.run(catalogue="x")  # type: ignore[call-arg]
    ingest.run("x", batch_size="many")  # type: ignore[arg-type]
    ingest.run("x", dtype="int8")  # type: ignore[arg-type]
    ingest.run("x", 3)  # type: ignore[arg-type, call-arg]
    ingest.run("x", prune="yes")  # type: ignore[arg-type]
    ingest.plan("x", batch_size=4)  # type: ignore[call-arg]
    ingest.fetch("x", model="clip")  # type: ignore[call-arg]
    ingest.runs("x")  # type: ignore[attr-defined]
    ingest.run("x").embeded  # type: ignore[attr-defined]  # noqa: B018
    ingest.load_encoder("x").texts([1])  # type: ignore[list-item]
    try:
        ingest.run("x")
    except ingest.NotLiveError as error:
        assert_type(error.exit_code, int)
