"""What needs an extra that is not installed names it, says how to install it, and exits 3; nothing is loaded before."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest
from fsspec.registry import _registry as file_systems

import ingest
from ingest.cli.main import main
from ingest.cli.output import hits
from ingest.core.errors import InputError
from ingest.pipeline.distributed import cluster


@pytest.fixture
def uninstall(monkeypatch):
    """Make every import of a package fail as if it were not installed."""

    class Missing:
        def __init__(self, package):
            self.package = package

        def find_spec(self, name, _path=None, _target=None):
            if name.partition(".")[0] == self.package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def without(package):
        monkeypatch.setattr(ingest, "serve", None, raising=False)
        for name in list(sys.modules):
            if name.partition(".")[0] in (package, "s3fs") or f"{name}.".startswith("ingest.server."):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(file_systems, "s3", raising=False)  # where it keeps what it has imported
        monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])

    return without


@pytest.mark.parametrize(
    ("extra", "package", "arguments"),
    [
        ("serve", "fastapi", ["serve"]),
        ("serve", "starlette", ["serve"]),
        ("serve", "uvicorn", ["serve"]),
        ("serve", "prometheus_client", ["serve"]),
        ("serve", "python_multipart", ["serve"]),
        ("serve", "anyio", ["serve"]),
        ("plots", "matplotlib", ["evaluate", "--plot", "curves.png"]),
        ("s3", "s3fs", ["store", "info", "--store", "s3://bucket/folder"]),
        ("s3", "aiobotocore", ["store", "info", "--store", "s3://bucket/folder"]),
        ("s3", "s3fs", ["plan", "--catalog", "s3://bucket/products.csv"]),
    ],
)
def test_a_command_names_its_missing_extra(uninstall, tmp_path, monkeypatch, capsys, extra, package, arguments):
    monkeypatch.chdir(tmp_path)
    uninstall(package)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 3
    assert len(said) == 1, said
    assert f"pip install 'ingest[{extra}]'" in said[0]


def test_the_ray_engine_names_its_missing_extra(uninstall):
    uninstall("ray")
    with pytest.raises(InputError, match=r"pip install 'ingest\[ray\]'"), cluster.connect("local"):
        pass


def test_small_images_that_are_asked_for_name_their_missing_extra(uninstall, monkeypatch):
    uninstall("textual_image")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(ours, "rb"), os.fdopen(its, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert hits._renderable(None) is None
        with pytest.raises(InputError, match=r"pip install 'ingest\[pictures\]'"):
            hits._renderable(wanted=True)
