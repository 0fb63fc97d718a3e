"""A shop of thousands of products, eight to a picture, so that a run is mostly upserts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from support.shop import client_of, contract_in

if TYPE_CHECKING:
    from faults.forked import Forked

ROOT = Path(__file__).parents[2]
SHARING = 8
_TITLE = "a title as long as titles get where a shop puts all it knows into one " * 4


class ManyProducts:
    """A folder with a catalog, run as a user runs it; `uri` is Milvus, "" for a Lite file in the data folder."""

    def __init__(self, folder: Path, model: Path, products: int, uri: str = "", alias: str = "many") -> None:
        self.folder, self.products, self.alias = folder, products, alias
        self.uri = uri or str(folder / "data" / "milvus.db")
        (folder / "images").mkdir(parents=True)
        for number in range(products // SHARING):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows = [f"P{number},images/{number // SHARING}.png,{_TITLE}{number}\n" for number in range(products)]
        (folder / "products.csv").write_text("product_id,image,title\n" + "".join(rows))
        contract_in(folder, alias)
        (folder / "ingest.toml").write_text(
            f'catalog = "products.csv"\ndata = "data"\nschema = "contract.toml"\nmodel = "{model}"\n'
            f'uri = "{self.uri}"\nbatch_size = 64\ndtype = "float32"\ndecode_workers = 1\ndownload_workers = 2\n'
            "exports = false\n"
        )

    def run(self, forked: Forked, *arguments: str, meddle: tuple[str, int, str] | None = None) -> tuple[int, list[str]]:
        """Run `ingest run`, while somebody else meddles perhaps; return the exit code and the lines on stderr."""
        whose = (*meddle, self.uri, self.alias) if meddle else None
        code = forked.run(self.folder, "run", "--quiet", *arguments, meddle=whose)
        return code, self.said()

    def said(self) -> list[str]:
        """Return what the command has said so far."""
        log = self.folder / "command.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def embedded(self) -> int:
        """Count the pictures that the model has embedded in all runs."""
        return sum(int(line) for line in (self.folder / "embedded").read_text().split())

    def rows(self) -> list[str]:
        """Return the product ids of all rows that the alias serves, doubled ones twice."""
        with client_of(self.uri) as client:
            client.load_collection(self.alias)
            found = client.query(
                self.alias, filter="", output_fields=["product_id"], consistency_level="Strong", limit=16_384
            )
        return sorted(row["product_id"] for row in found)

    def served(self) -> str:
        """Return the collection that the alias points to."""
        with client_of(self.uri) as client:
            return str(client.describe_collection(self.alias)["collection_name"])

    @property
    def name(self) -> str:
        """The collection that the runs fill; they have made it."""
        with client_of(self.uri) as client:
            (name,) = (name for name in client.list_collections() if name.startswith(f"{self.alias}_"))
        return name

    @property
    def ids(self) -> list[str]:
        return sorted(f"P{number}" for number in range(self.products))
