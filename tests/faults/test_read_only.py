"""A data folder that this user may only read, its Milvus Lite file too: whatever only reads works there."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

if TYPE_CHECKING:
    from collections.abc import Iterator

_DROP_BOUND, _DAC_OVERRIDE = 24, 1  # PR_CAPBSET_DROP (prctl.h), CAP_DAC_OVERRIDE (capability.h)
COMMANDS = {
    "search": ["search", "--product", "P1"],
    "search the files": ["search", "--product", "P1", "--backend", "faiss"],
    "recommend": ["recommend", "P1"],
    "evaluate": ["evaluate", "--queries", "3", "--k", "2", "--ef", "8", "--json"],
    "status": ["status"],
    "collections": ["collections"],
    "verify": ["verify"],
    "plan": ["plan"],
    "doctor": ["doctor"],
    "run": ["run"],
}
SCRIPT = """
import json, pathlib, sys
from click.testing import CliRunner
from support.small_shop import SmallShop, checkpoint
from ingest.cli.main import cli
from ingest.milvus.connection import connect
from ingest.server.alias_watcher import AliasWatcher

shop, ended = SmallShop(pathlib.Path(sys.argv[1])), {}
for name, words in json.loads(sys.argv[2]).items():
    places = ["--data", str(shop.settings.data)]
    if words[0] in ("plan", "run", "verify", "doctor"):
        places += ["--catalog", str(shop.settings.catalog), "--model", "model-1"]
    with shop.faked():
        result = CliRunner().invoke(cli, [*words, *places])
    code = getattr(result.exception, "exit_code", result.exit_code)
    ended[name] = [code, result.output + str(result.exception or "")]
with connect(shop.settings.milvus, reading=True) as connection:
    ended["serve"] = [0, AliasWatcher(connection, "products", checkpoint("model-1").space).collection.name]
print(json.dumps(ended))
"""


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallShop]:
    folder = tmp_path_factory.mktemp("shop")
    shop = SmallShop(folder)
    shop.stock(FIVE)
    shop.run(exports=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield shop
    finally:
        for path in [folder, *filter(Path.is_dir, folder.rglob("*"))]:
            path.chmod(0o755)


def heed_permissions() -> None:
    """Have root heed permissions as others do."""
    if os.geteuid() == 0:
        assert ctypes.CDLL(None).prctl(_DROP_BOUND, _DAC_OVERRIDE, 0, 0, 0) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="root heeds no permissions elsewhere")
def test_what_only_reads_works_on_a_folder_that_may_only_be_read(shop: SmallShop, tmp_path: Path) -> None:
    root, tests = Path(__file__).parents[2], Path(__file__).parents[1]
    path = os.pathsep.join((str(root), str(tests)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, shop.folder, json.dumps(COMMANDS)], cwd=tmp_path, check=False,
        capture_output=True, text=True, preexec_fn=heed_permissions,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    refused, doctor = ended.pop("run"), ended.pop("doctor")
    assert refused[0] == 3
    assert "cannot be written (Permission denied)" in refused[1]
    assert "alias products serves products_" in doctor[1]
    assert {name: code for name, (code, _) in ended.items()} == dict.fromkeys(ended, 0), ended
    assert list(tmp_path.glob("ingest-*")) == [], "no copy stays behind"
