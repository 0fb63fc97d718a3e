"""The image of the Dockerfile, in its form for a CPU, built without a registry and run over the sample catalog.

The base is the Debian of `scripts/build_milvus_image.sh` without its Milvus; it has no Python. The wheels are this
machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import pytest
import requests
import yaml
from support.shop import ROOT, sample_products, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not os.environ.get("INGEST_SOAK"), reason="takes some minutes: INGEST_SOAK=1"),
    pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed"),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheels must be for Debian bookworm's Python, 3.11"),
]
MILVUS_IMAGE = os.environ.get("MILVUS_IMAGE", "ingest-milvus:2.3.5")
BASE, IMAGE = "debian-of-the-tests", "ingest-of-the-tests"
DEBIAN = f"FROM {MILVUS_IMAGE}\nENV LD_LIBRARY_PATH=\nRUN rm -r /milvus\n"
CONTEXT = ("Dockerfile", ".dockerignore", "ingest", "schema", "pyproject.toml", "constraints.txt", "requirements.txt",
           "README.md", "LICENSE")  # fmt: skip
PRODUCTS = 12
TOKEN = "open-sesame"


def docker(*words: str | Path, timeout: float = 120, stdin: str = "") -> str:
    command = ["docker", *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image as docs/docker.md does without a network: from wheels in the clone."""
    clone = tmp_path_factory.mktemp("clone")
    for name in CONTEXT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, clone / name)
    if (ROOT / "wheels").is_dir():  # downloaded before, by somebody who builds the image often
        shutil.copytree(ROOT / "wheels", clone / "wheels")
    else:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
        wheels = [*pip, "-r", "requirements.txt", "hatchling", "editables", "s3fs", "-d", "wheels"]
        subprocess.run(wheels, cwd=clone, check=True, timeout=1200)
    docker("build", "-q", "-t", BASE, "-", stdin=DEBIAN)
    docker(
        "build", "-q", "-t", IMAGE, "--build-arg", f"BASE={BASE}", "--build-arg", "PIP_NO_INDEX=1", clone, timeout=850
    )
    yield IMAGE
    docker("image", "rm", "--force", IMAGE, BASE)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Make a folder as a shop has it, which any user may write to."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "data" / "models" / "sample-clip", folder / "model")
    (folder / "images").mkdir()
    products = sample_products(PRODUCTS)
    for product in products:
        shutil.copy2(ROOT / "data" / product["image"], folder / "images")
    write_csv(folder / "products.csv", products)
    (folder / "ingest.toml").write_text('catalog = "products.csv"\nmodel = "model"\n', encoding="utf-8")
    folder.chmod(0o777)
    return folder


def test_the_image_runs_a_shop_as_a_plain_user_and_serves_it(image: str, shop: Path) -> None:
    mount = ["-v", f"{shop}:/shop"]
    summary = json.loads(docker("run", "--rm", *mount, image, "run", "--json"))
    assert (summary["products"], summary["embedded"], summary["upserted"]) == (PRODUCTS,) * 3
    assert (shop / "data" / "milvus.db").stat().st_uid == 1000
    assert json.loads(docker("run", "--rm", *mount, image, "run", "--json"))["unchanged"] == PRODUCTS

    environment = ["-e", f"INGEST_SERVE_TOKEN={TOKEN}", "-e", "INGEST_HOST=0.0.0.0"]
    served = docker("run", "-d", *mount, "-p", "127.0.0.1::8900", *environment, image, "serve").strip()
    try:
        address = f"http://{docker('port', served, '8900').split()[0]}"
        hits = asked(f"{address}/v1/search", {"text": "red glass lamp", "limit": 1})
        assert [hit["product_id"] for hit in hits] == ["P0004"]
        started = time.monotonic()
        docker("stop", served)
        assert time.monotonic() - started < 9, "it was killed after ten seconds"
    finally:
        docker("rm", "--force", served)


def test_what_the_profile_of_compose_starts_fills_the_milvus_beside_it(image: str, shop: Path) -> None:
    """Compose may be missing here, so its services are started by hand, with the commands and environment it names."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service, network = compose["services"]["ingest"], f"ingest-{uuid.uuid4().hex[:12]}"
    beside = ["-v", f"{shop}:/shop", "--network", network, "-e", f"INGEST_URI={service['environment']['INGEST_URI']}"]
    docker("network", "create", network)
    milvus = docker("run", "-d", "--network", network, "--network-alias", "milvus", MILVUS_IMAGE).strip()
    try:
        deadline = time.monotonic() + 180
        while docker("inspect", "--format", "{{.State.Health.Status}}", milvus).strip() != "healthy":
            assert time.monotonic() < deadline, docker("logs", "--tail", "20", milvus)
            time.sleep(1)
        summary = json.loads(docker("run", "--rm", *beside, image, *service["command"], "--json"))
        assert (summary["upserted"], summary["served"]) == (PRODUCTS, summary["collection"])
        hits = json.loads(docker("run", "--rm", *beside, image, "search", "red glass lamp", "--json", "--limit", "1"))
        assert [hit["product_id"] for hit in hits] == ["P0004"]
        assert not (shop / "data" / "milvus.db").exists()
    finally:
        docker("rm", "--force", "--volumes", milvus)
        docker("network", "rm", network)


def test_the_image_has_the_extras_and_no_rights_to_itself(image: str) -> None:
    program = "import s3fs, fastapi, os, ingest; print(os.getuid(), os.access(ingest.__path__[0], os.W_OK))"
    assert docker("run", "--rm", "--entrypoint", "python", image, "-c", program) == "1000 False\n"
    assert "Usage: ingest" in docker("run", "--rm", image)


def asked(address: str, query: dict[str, object]) -> list[dict[str, object]]:
    """Search, once the service answers."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    deadline = time.monotonic() + 120
    while True:
        try:
            answer = requests.post(address, json=query, headers=headers, timeout=60)
            hits: list[dict[str, object]] = answer.json()["hits"]
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.5)
        else:
            return hits
