"""Imports torch, and picks the devices and the dtype that it computes with."""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
import warnings
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from ingest.core.errors import ModelError, NoTorchError
from ingest.runtime import openmp
from ingest.runtime.environment import variables

MODEL_LOADING = threading.Lock()
"""Held while transformers loads a model: it changes torch's default dtype then, which the process has in common."""
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")  # of NVIDIA's and AMD's GPUs
_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]+)?")


def import_torch() -> Any:
    """Import torch, and check that transformers is there too; raises NoTorchError with the import's reason."""
    openmp.let_both_in()
    try:
        # Decoders share the cores with OpenMP's threads, so waiting threads must sleep, not spin. Read on loading.
        with nullcontext() if "torch" in sys.modules else variables({"OMP_WAIT_POLICY": "passive"}):
            import torch
        _silence_tqdm()
        import transformers
    except (ImportError, OSError) as error:
        raise NoTorchError(
            f"torch and transformers cannot be imported ({error}); pip install torch transformers"
        ) from error
    openmp.share()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch


def _silence_tqdm() -> None:
    """Ignore tqdm's warning that a notebook lacks ipywidgets: transformers shows no bars here."""
    warnings.filterwarnings("ignore", "IProgress not found")


@cache
def cpu_threads() -> int:
    """Return how many threads torch uses by default; read once, because lanes set their share of them."""
    threads: int = import_torch().get_num_threads()
    return threads


def check_device(requested: str) -> None:
    """Raise ModelError for a `--device` that does not exist on any machine; `pick_devices` checks this one."""
    names = [name.strip() for name in requested.split(",")]
    if requested != "auto" and not all(_DEVICE.fullmatch(name) for name in names):
        raise ModelError(
            f"--device {requested}: no such device; give auto, cpu, mps, cuda, or numbered ones: cuda:0,cuda:1"
        )
    if len({name.partition(":")[0] for name in names}) > 1:
        raise ModelError(
            f"--device {requested}: devices of several kinds; choose one, because vectors differ slightly between kinds"
        )


def expects_gpu(requested: str) -> bool:
    """Whether images will be embedded on a GPU, as far as that shows before torch is imported, which takes seconds."""
    if requested != "auto":
        return not requested.startswith("cpu")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return is_apple or any(Path(driver).exists() for driver in _DRIVERS)


def pick_devices(requested: str) -> list[str]:
    """Return the devices in `requested`, split at commas; `auto` means all CUDA devices, else the best available.

    Raises ModelError if a requested device is missing, or if they are of several kinds.
    """
    torch = import_torch()
    if requested == "auto" and torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    check_device(requested)
    return [pick_device(name.strip()) for name in requested.split(",")]


def pick_device(requested: str) -> str:
    """Return `requested`, or for `auto` the best available device; raises ModelError if a requested one is missing."""
    torch = import_torch()
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        return next(name for name, is_available in available.items() if is_available)
    kind, _, number = requested.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    numbered = not number or (number.isdecimal() and int(number) < count)
    if not available.get(kind, False) or not numbered:
        raise ModelError(f"--device {requested}: torch {torch.__version__} sees no such device; see ingest doctor")
    return requested


def pick_dtype(requested: str, device: str) -> str:
    """Return `requested`, or for `auto` bfloat16 if the device computes in it natively, else float32."""
    if requested != "auto":
        return requested
    torch = import_torch()
    if device.startswith("cuda"):
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere brought bfloat16 tensor cores
    else:
        fast = device.startswith("cpu") and _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a device's memory is too small; the CPU's has no exception class of its own."""
    torch = import_torch()
    words = str(error)
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
    )


def _cpu_has_bfloat16() -> bool:
    """Return whether Linux lists bfloat16 among the processor's features; on other systems False is the safe answer."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
