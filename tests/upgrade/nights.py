"""Fills a shop as a user does over four nights, by the command line of whichever version is to be upgraded from."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.http_server import Server

from upgrade import stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from upgrade.command_line import Ended

    Ingest = Callable[..., Ended]

FACTS = "facts.json"
"""What the version that filled the shop says of it at the end, beside the data."""

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    # what is asked for: arguments of `ingest`, all with --json
    "plan": ("plan",),
    "plan with the first model": ("plan", "--model", stock.FIRST),
    "plan of the outlet": ("plan", "--config", "outlet.toml"),
    "verify": ("verify",),
    "like a product": ("search", "--product", "P0003", "--limit", "7"),
    "like a product, filtered": ("search", "--product", "日本語", "--filter", "price < 20 and brand != 'none'"),
    "like a product of the outlet": ("search", "--config", "outlet.toml", "--product", "4711"),
    "like a product, from the files": ("search", "--product", "a/b\\c", "--backend", "faiss"),
    "recommended": ("recommend", "P0001", "P0004"),
}
MODEL_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "by text": ("search", "a red mug"),
    "by image": ("search", "--image", f"{stock.IMAGES}/turned.jpg"),
}
"""Those for which the model must be loaded."""


def fill(folder: Path, ingest: Ingest, settings: str = "") -> None:
    """Fill a shop in `folder` and write its facts; the server that its images came from is gone then.

    `settings` are more lines for the configuration files, such as where Milvus is.
    """
    stock.write_models(folder)
    stock.write_settings(folder, settings)
    stock.write_images(folder)
    with _serving() as server:
        stock.serve_images(server)
        for night in (1, 2, 3, 4):
            stock.stock(folder, server, night)
            _well(ingest("run", "--quiet", *(("--model", stock.FIRST) if night < 3 else ())))
        _well(ingest("run", "--quiet", "--config", "outlet.toml"))
        facts = answers(ingest, {**QUESTIONS, **MODEL_QUESTIONS})
        (folder / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


_COMPARED = (
    "collection", "served", "products", "added", "changed", "unchanged", "embed", "gone", "remove", "rows",
    "differing",
)  # fmt: skip


@contextmanager
def _serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.stop()


def answers(ingest: Ingest, questions: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Ask each question and return what was answered."""
    return {what: _well(ingest(*arguments, "--json")).json for what, arguments in questions.items()}


def lasting(answer: Any) -> Any:
    """Return what of an answer tells how the data stand: hits, or counts and names, without times and wording."""
    if isinstance(answer, list):
        return answer
    told = {key: answer[key] for key in _COMPARED if key in answer}
    rows = answer.get("changes", [])
    return {**told, "changes": sorted((row["product_id"], row["change"]) for row in rows if row["change"] != "fetch")}


def _well(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended
