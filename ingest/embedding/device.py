"""Where torch computes and in which numbers: importing it, the devices there are, their dtype."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ingest.core.errors import ModelError, NoTorchError
from ingest.runtime import openmp

_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]+)?")


def import_torch() -> Any:
    """Import torch and see that transformers is there; raises NoTorchError saying what the import said."""
    if "torch" not in sys.modules:
        # Decoders share the cores with OpenMP's threads: those that wait must sleep and not spin. Read when it loads.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    openmp.let_both_in()
    try:
        import torch
        import transformers
    except (ImportError, OSError) as error:
        raise NoTorchError(
            f"torch and transformers cannot be imported ({error}); pip install torch transformers"
        ) from error
    openmp.share()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch


@cache
def cpu_threads() -> int:
    """Return how many threads torch computes on by itself, as it was at first: lanes share them."""
    threads: int = import_torch().get_num_threads()
    return threads


def check_device(wanted: str) -> None:
    """Raise ModelError for a `--device` that no machine could have; whether this one has it only torch can tell."""
    names = [name.strip() for name in wanted.split(",")]
    if wanted != "auto" and not all(_DEVICE.fullmatch(name) for name in names):
        raise ModelError(
            f"--device {wanted}: no such device; give auto, cpu, mps, cuda, or numbered ones: cuda:0,cuda:1"
        )
    if len({name.partition(":")[0] for name in names}) > 1:
        raise ModelError(f"--device {wanted}: devices of one kind only, for vectors must not depend on who was free")


def pick_devices(wanted: str) -> list[str]:
    """Return the devices that `wanted` names, split at commas; `auto` is all CUDA devices, else the best there is.

    Raises ModelError where a device asked for is missing, or where devices of several kinds are asked for.
    """
    torch = import_torch()
    if wanted == "auto" and torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    check_device(wanted)
    return [pick_device(name.strip()) for name in wanted.split(",")]


def pick_device(wanted: str) -> str:
    """Return `wanted`, or for `auto` the best there is; raises ModelError where a device asked for is missing."""
    torch = import_torch()
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    kind, _, number = wanted.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    numbered = not number or (number.isdecimal() and int(number) < count)
    if not there.get(kind, False) or not numbered:
        raise ModelError(f"--device {wanted}: torch {torch.__version__} sees no such device; see ingest doctor")
    return wanted


def pick_dtype(wanted: str, device: str) -> str:
    """Return `wanted`, or for `auto` bfloat16 where the device computes in it natively, else float32."""
    if wanted != "auto":
        return wanted
    torch = import_torch()
    if device.startswith("cuda"):
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere brought bfloat16 tensor cores
    else:
        fast = device.startswith("cpu") and _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device said that its memory is too small for what was asked; the CPU's allocator has words only."""
    torch = import_torch()
    words = str(error)
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
    )


def _cpu_has_bfloat16() -> bool:
    """Linux names the processor's abilities; elsewhere float32 is the safe answer."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
