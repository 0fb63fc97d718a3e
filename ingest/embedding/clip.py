"""CLIP and models with its two methods (SigLIP) by transformers, on whatever device there is."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.errors import ModelError, NoTorchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest.contract import Space
    from ingest.embedding.checkpoint import Checkpoint

_NOT_FOR_EMBEDDING = {"logit_scale", "logit_bias"}  # they turn similarities into probabilities


class ClipEncoder:
    """An Encoder that loads its model when first asked to embed, so that a run with nothing to do never does."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: str, batch: int) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._dtype = dtype
        self._batch = batch

    @property
    def space(self) -> Space:
        """The checkpoint's space."""
        return self._checkpoint.space

    @cached_property
    def device(self) -> str:
        """`cuda`, `mps` or `cpu`; raises ModelError where the device asked for is not there."""
        return pick_device(self._device)

    @cached_property
    def dtype(self) -> str:
        """`bfloat16` or `float32`."""
        return pick_dtype(self._dtype, self.device)

    def load(self) -> None:
        """Load the model now and not with the first pictures; raises what embedding would."""
        import_torch()
        _ = self._model

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed (n, height, width, 3) uint8 RGB into (n, dim) float32.

        A batch that is not full is filled up: a kernel chosen for another number of rows rounds differently. So what
        else is in a batch does not matter; the place in it may, in the last digits of float32.
        """
        torch = import_torch()
        count = len(pixels)
        if count < self._batch:
            pixels = np.concatenate([pixels, np.zeros((self._batch - count, *pixels.shape[1:]), np.uint8)])
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(pixels).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
                batch = batch.to(torch.float32).mul_(self._scale).add_(self._shift)
                rows = _rows(self._model.get_image_features(pixel_values=batch.to(self._torch_dtype)))
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"--batch-size {len(pixels)}: more than the memory of {self.device} holds; pass a smaller one"
            ) from error
        if rows.shape[1] != self.space.dim:
            raise ModelError(
                f"{self._checkpoint.location}: gives vectors of {rows.shape[1]} numbers where its config.json says "
                f"{self.space.dim}; choose a CLIP or SigLIP model"
            )
        return rows[:count]

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into (n, dim) float32; what is longer than the model's context is cut, as CLIP does."""
        torch = import_torch()
        tokens = self._tokenizer(list(texts), return_tensors="pt", truncation=True, **self._padding).to(self.device)
        with torch.inference_mode():
            return _rows(self._model.get_text_features(**tokens))

    @cached_property
    def _model(self) -> Any:
        torch = import_torch()
        from transformers import AutoModel

        device, torch_dtype = self.device, getattr(torch, self.dtype)
        place = self._checkpoint.location
        try:
            model, found = self._loaded(AutoModel, dtype=torch_dtype, output_loading_info=True)
            model = model.to(device).eval()
        except Exception as error:  # broken files raise nearly everything: SafetensorError, UnpicklingError, …
            raise ModelError(f"{place}: cannot be loaded ({_first_line(error)}); see ingest doctor") from error
        if missing := sorted(set(found["missing_keys"]) - _NOT_FOR_EMBEDDING):
            # transformers would fill them with random numbers, and every search would find nonsense.
            raise ModelError(f"{place}: its weights lack {missing[0]} and {len(missing) - 1} more; copy it again")
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise ModelError(f"{place}: has no get_image_features; choose a CLIP or SigLIP model")
        return model

    def _loaded(self, kind: Any, **options: Any) -> Any:
        """Load from the local cache, and from the hub only what is not there: asked first, it is waited for."""
        place, revision = self._checkpoint.location, self._checkpoint.revision
        if revision is None:
            return kind.from_pretrained(place, **options)
        try:
            return kind.from_pretrained(place, revision=revision, local_files_only=True, **options)
        except OSError:
            return kind.from_pretrained(place, revision=revision, **options)

    @cached_property
    def _tokenizer(self) -> Any:
        import_torch()
        from transformers import AutoTokenizer

        try:
            return self._loaded(AutoTokenizer)
        except Exception as error:  # broken files raise nearly everything; a package that is not there, ImportError
            raise ModelError(
                f"{self._checkpoint.location}: its tokenizer cannot be loaded ({_first_line(error)}); copy it again"
            ) from error

    @cached_property
    def _padding(self) -> dict[str, Any]:
        """SigLIP was trained on texts filled up to its whole context, CLIP on any length (their model cards)."""
        config = self._model.config
        longest = int(config.text_config.max_position_embeddings)
        return {"padding": "max_length" if "siglip" in config.model_type else True, "max_length": longest}

    @cached_property
    def _torch_dtype(self) -> Any:
        return getattr(import_torch(), self.dtype)

    @cached_property
    def _scale(self) -> Any:
        """X / 255 normalised is x · 1 / (255 std) − mean / std."""
        std = np.array(self._checkpoint.preprocessing.std, np.float64)
        return self._constant(1.0 / (255.0 * std))

    @cached_property
    def _shift(self) -> Any:
        steps = self._checkpoint.preprocessing
        return self._constant(-np.array(steps.mean, np.float64) / np.array(steps.std, np.float64))

    def _constant(self, values: NDArray[np.float64]) -> Any:
        torch = import_torch()
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)


def import_torch() -> Any:
    """Import torch and see that transformers is there; raises NoTorchError saying what the import said."""
    try:
        import torch
        import transformers
    except (ImportError, OSError) as error:
        raise NoTorchError(
            f"torch and transformers cannot be imported ({error}); pip install torch transformers"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch


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
        fast = device == "cpu" and _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _cpu_has_bfloat16() -> bool:
    """Linux names the processor's abilities; elsewhere float32 is the safe answer."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _rows(features: Any) -> NDArray[np.float32]:
    """Return (n, dim) float32; transformers 5 wraps the projected features, transformers 4 does not."""
    tensor = getattr(features, "pooler_output", features)
    rows: NDArray[np.float32] = tensor.float().cpu().numpy()
    return rows
