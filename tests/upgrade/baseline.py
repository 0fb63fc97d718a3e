"""An earlier version of `ingest`: its source tree, out of git, and the environment that it runs in."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from support.shop import ROOT, environment_of

from upgrade.command_line import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

COMMIT = "5802000"
"""The version that users are upgraded from."""


def command_line(commit: str, cache: Path, folder: Path) -> Elsewhere:
    """Start the command line of the version at `commit`, in `folder`.

    Its tree is made once, in `cache`. While its pins are what this interpreter has, only its code differs, and it runs
    on this interpreter's packages. Once a pin has moved it gets an environment of its own, made once too: files that
    another Milvus Lite or pyarrow wrote are a part of what users upgrade from.
    """
    tree = _tree(commit, cache)
    python = cache / f"{commit}-venv" / "bin" / "python"
    if moved := list(_moved_pins(tree)):
        _install(tree, python, moved)
    else:
        python = Path(sys.executable)
    return Elsewhere(folder, python, environment_of({"PYTHONPATH": tree}))


def _tree(commit: str, cache: Path) -> Path:
    tree = cache / commit
    if not tree.is_dir():
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        assert packed.returncode == 0, f"{packed.stderr.decode()}; in a shallow clone: git fetch --unshallow"
        aside = cache / f".{commit}-{os.getpid()}"
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(aside, filter="data")
        aside.rename(tree)
    return tree


def _moved_pins(tree: Path) -> Iterator[str]:
    """Yield the baseline's pins that this interpreter has another version of."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", (tree / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    for name, pinned in pins:
        try:
            here = version(name)
        except PackageNotFoundError:
            continue  # what its commands here do not need, or would say
        if here.partition("+")[0] != pinned.partition("+")[0]:  # 2.13.0+cpu is the CPU's build of 2.13.0
            yield f"{name}=={pinned}"


def _install(tree: Path, python: Path, moved: list[str]) -> None:
    done = python.parent / "installed"
    if done.exists():
        return
    log.warning("%s: installing the pins of %s into %s, once", ", ".join(moved), tree.name, python.parents[1])
    subprocess.run([ROOT / "scripts" / "make_venv.sh", sys.executable, python.parents[1]], check=True)
    index = os.environ.get("TORCH_INDEX", "")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", tree / "constraints.txt"]
    subprocess.run([*pip, *(["--index-url", index] if index else []), "torch"], check=True)
    subprocess.run([*pip, tree], check=True)
    done.touch()
