"""A first load by import jobs, killed by `kill -9`: its files do not stay, and the next run imports nothing twice."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from faults.stocked import StockedShop
from support.forked import fork_server
from support.shared_server import IMPORTED
from support.shop import COMMAND, TIMEOUT_S, client_of, contract_in, environment_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PRODUCTS = 40
FILE_BYTES = 6000
"""Makes two files."""
MOMENTS = {
    "before its file": ("import writing", 1, 0.0),
    "before its request": ("import requesting", 1, 0.0),
    "between two requests": ("import requesting", 2, 0.0),
    "before its number is recorded": ("import recording", 2, 0.0),
    "while the server imports": ("import watching", 1, 0.2),
}
USUAL = ("between two requests", "before its number is recorded")
"""The moments that every run of the tests takes: each waits for the server for seconds."""


class Importing(StockedShop):
    """A shop that fills a collection of the server by imports from a folder that both see."""

    def __init__(self, folder: Path, model: Path, uri: str, alias: str, shared: Path) -> None:
        super().__init__(folder, model)
        self.uri, self.alias = uri, alias
        contract_in(folder, alias)
        with (folder / "ingest.toml").open("a") as file:
            file.write(f'schema = "contract.toml"\nuri = "{uri}"\nmax_wait = 30\nexports = false\n')
        self._bulk = ["--load", "bulk", "--bulk-folder", str(shared), "--bulk-path", f"{IMPORTED}/{shared.name}"]

    def importing(self, kill: tuple[str, int, float] | None = None) -> tuple[int, str]:
        """Run with imports; return how it ended, and what it said."""
        before: list[tuple[str, str, Sequence[object]]] = [("faults.interference", "import_soon", [FILE_BYTES])]
        before += [("faults.interference", "kill", kill)] if kill else []
        command = [COMMAND, "run", "--json", *self._bulk]
        running = fork_server().start(command, self.folder, environment_of({}), before=before)
        return running.wait(TIMEOUT_S), "".join(running.communicate())

    def served(self) -> list[str]:
        """Return the ids that the server has, those of doubled rows twice."""
        with client_of(self.uri) as client:
            found = client.query(
                self.alias, filter='product_id != ""', output_fields=["product_id"], consistency_level="Strong"
            )
        return sorted(row["product_id"] for row in found)


@pytest.fixture
def shop(milvus_uri: str, import_folder: Path, collection_name: str, tiny_clip: Path, tmp_path: Path) -> Importing:
    shop = Importing(tmp_path, tiny_clip, milvus_uri, collection_name, import_folder)
    shop.stock_numbers(range(PRODUCTS))
    return shop


@pytest.mark.parametrize("moment", MOMENTS if os.environ.get("INGEST_SOAK") else USUAL)
def test_a_killed_import_leaves_no_file_and_the_next_run_ends_right(
    shop: Importing, import_folder: Path, moment: str
) -> None:
    code, said = shop.importing(kill=MOMENTS[moment])
    assert code == -signal.SIGKILL, said
    assert bool(list(import_folder.iterdir())) == (moment != "before its file"), "killed at another moment"
    code, said = shop.importing()
    assert code == 0, said
    assert list(import_folder.iterdir()) == []
    assert shop.served() == sorted(f"P{number}" for number in range(PRODUCTS))
    shop.done("verify")


def test_a_run_without_imports_removes_the_files_of_a_killed_one(shop: Importing, import_folder: Path) -> None:
    code, said = shop.importing(kill=MOMENTS["while the server imports"])
    assert code == -signal.SIGKILL, said
    shop.done("run")
    assert list(import_folder.iterdir()) == []
    assert shop.served() == sorted(f"P{number}" for number in range(PRODUCTS))
