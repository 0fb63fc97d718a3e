"""Checks of what a run needs, one finding each: what was found, and how to fix it if it is wrong."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core import contract as contracts
from ingest.core import contract_file
from ingest.core.errors import IngestError, NoTorchError
from ingest.core.wording import quantity
from ingest.embedding import device as torch_device
from ingest.embedding.checkpoint import resolve
from ingest.embedding.checkpoint_files import OPEN_CLIP_WEIGHTS, WEIGHTS, has_weights
from ingest.embedding.towers import open_towers
from ingest.milvus.alias import alias_target, check_previous
from ingest.milvus.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.core.settings import Settings

_LITTLE_SPACE = 2 * 2**30
_CUDA_HINT = "for an NVIDIA GPU install torch with CUDA: docs/gpu.md says how"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `exit_code` is 0 if all is well, else that of a run, and `way_out` says how to fix it."""

    name: str
    found: str
    way_out: str = ""
    exit_code: int = 0


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield one finding for each thing a run needs.

    Nothing is changed, and only a model's configuration and tokenizer are downloaded.
    """
    checks: dict[str, Callable[[Settings], Finding]] = {
        "python": _python,
        "torch": _torch,
        "device": _device,
        "model": _model,
        "contract": _contract,
        "milvus": _milvus,
        "catalog": _catalog,
        "disk": _disk,
    }
    for name, check in checks.items():
        try:
            yield check(settings)
        except IngestError as error:
            found, _, way_out = str(error).partition("; ")
            yield Finding(name, found, way_out, error.exit_code)


def _python(_settings: Settings) -> Finding:
    return Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch(_settings: Settings) -> Finding:
    torch = torch_device.import_torch()
    return Finding(
        "torch",
        f"{torch.__version__} with transformers {_version('transformers')}, {torch.get_num_threads()} threads",
    )


def _device(settings: Settings) -> Finding:
    torch = torch_device.import_torch()
    devices = torch_device.pick_devices(settings.device)
    device = devices[0]
    dtype = torch_device.pick_dtype(settings.dtype, device)
    if device.startswith("cuda"):
        name, memory = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
        return Finding("device", f"{', '.join(devices)}, {name} with {memory / 2**30:.0f} GiB, computing in {dtype}")
    hint = _CUDA_HINT if device == "cpu" and shutil.which("nvidia-smi") else ""
    return Finding(
        "device",
        f"{device}, computing in {dtype}" + ("" if hint else "; a GPU is 10 to 100 times faster"),
        hint,
    )


def _model(settings: Settings) -> Finding:
    checkpoint = resolve(settings.model, settings.model_revision)
    space = checkpoint.space
    found = f"{space.model} at {space.revision[:19]}, {space.dim} dimensions, {checkpoint.family}"
    weights = WEIGHTS if checkpoint.open_clip is None else OPEN_CLIP_WEIGHTS
    if not has_weights(checkpoint.source, weights):
        checkpoint.source.reach(weights[0])
        found += "; ingest run fetches its weights"
    try:
        open_towers(checkpoint, "float32").tokenizer()
    except NoTorchError:
        found += "; its tokenizer cannot be checked without torch"
    return Finding("model", found)


def _contract(settings: Settings) -> Finding:
    contract = contract_file.load(settings.schema)
    return Finding("contract", f"{settings.schema}: alias {contract.alias}, {len(contract.fields)} metadata fields")


def _milvus(settings: Settings) -> Finding:
    uri = settings.milvus_uri
    if "://" not in uri and not Path(uri).expanduser().exists():
        return Finding("milvus", f"{uri}: does not exist yet; ingest run creates it")
    alias = contract_file.load(settings.schema).alias
    with connect(replace(settings.milvus, max_wait=0), reading=True) as connection:
        client = connection.client
        kind = "Lite" if connection.is_lite else connection.call("ask its version", client.get_server_version)
        served = alias_target(connection, alias)
        alias_state = f"serves {served}" if served else "is not set yet"
        before = check_previous(connection, alias)
        previous = f", {contracts.previous_alias(alias)} is {before}" if before else ""
        return Finding("milvus", f"{kind} at {connection.shown}: alias {alias} {alias_state}{previous}")


def _catalog(settings: Settings) -> Finding:
    from ingest.catalog import files, kept_profiles, reader
    from ingest.catalog.rows import Columns

    columns = Columns.of(settings, kept_profiles.recall(settings))
    next(reader.read_catalog(settings.catalog, contract_file.load(settings.schema), columns))
    products = reader.estimate(settings.catalog)
    found = f"about {quantity(products, 'product')}" if products else "readable"
    parts = len(files.list_files(settings.catalog))
    return Finding("catalog", f"{settings.catalog}: {found}" + (f", in {parts:,} files" if parts > 1 else ""))


def _disk(settings: Settings) -> Finding:
    folder = next(path for path in [settings.data.absolute(), *settings.data.absolute().parents] if path.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free for {settings.data}"
    if free < _LITTLE_SPACE:
        return Finding("disk", found, "free some space, or pass --data on another disk", exit_code=3)
    return Finding("disk", found)


def _version(package: str) -> Any:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
