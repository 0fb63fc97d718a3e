"""open_clip's tensors under the names that transformers has for them, one tower at a time.

The names are those of open_clip 3.3 (src/open_clip/transformer.py), of timm 1.0 (models/vision_transformer.py and
layers/attention_pool.py), and of the checkpoints that transformers publishes.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import display
from ingest.embedding.device import import_torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_OLDEST_TORCH = (2, 6)  # before, torch.load could run code in spite of weights_only (CVE-2025-32434)
_WRAPPED = "module."  # before each name, as a distributed training run saves them

_BLOCK = {  # open_clip's transformer blocks
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "attn.in_proj_": "self_attn.{}_proj.",
}
_TIMM_BLOCK = {
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
    "mlp.fc1.": "mlp.fc1.",
    "mlp.fc2.": "mlp.fc2.",
    "attn.proj.": "self_attn.out_proj.",
    "attn.qkv.": "self_attn.{}_proj.",
}
_IMAGE = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.": "embeddings.patch_embedding.",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.": "pre_layrnorm.",  # sic, in transformers
    "ln_post.": "post_layernorm.",
}
_TIMM_IMAGE = {
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "pos_embed": "embeddings.position_embedding.weight",
    "norm.": "post_layernorm.",
    "attn_pool.latent": "head.probe",
    "attn_pool.proj.": "head.attention.out_proj.",
    "attn_pool.norm.": "head.layernorm.",
    "attn_pool.mlp.fc1.": "head.mlp.fc1.",
    "attn_pool.mlp.fc2.": "head.mlp.fc2.",
}
_TEXT = {
    "token_embedding.": "embeddings.token_embedding.",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.": "final_layer_norm.",
}
# Beside the towers, and saved by older versions of open_clip or OpenAI's: settings and masks, which are no weights.
_NO_WEIGHTS = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}


class Tensors(Protocol):
    """The tensors of a checkpoint by name."""

    def names(self) -> set[str]:
        """Return all names."""

    def read(self, name: str) -> Any:
        """Return a tensor."""


@contextmanager
def open_tensors(path: Path, name: str) -> Iterator[Tensors]:
    """Open a file of weights without reading it all; `name` is the checkpoint's, for messages.

    Raises ModelError, also for what goes wrong while they are used.
    """
    try:
        with _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path, name) as tensors:
            yield tensors
    except ModelError:
        raise
    except Exception as error:  # damaged files raise nearly any error: SafetensorError, UnpicklingError, …
        text = str(error).strip()
        said = text.splitlines()[0][:200] if text else type(error).__name__
        raise ModelError(f"{name}: cannot be loaded ({said}); see ingest doctor") from error


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Tensors]:
    import_torch()
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        yield _Renamed({key.removeprefix(_WRAPPED): key for key in file.keys()}, file.get_tensor)  # noqa: SIM118


@contextmanager
def _open_pickle(path: Path, name: str) -> Iterator[Tensors]:
    """Open a pickle of tensors and nothing else: torch refuses one that would run code."""
    torch = import_torch()
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < _OLDEST_TORCH:
        raise ModelError(
            f"{name}: its weights are a pickle, which torch {torch.__version__} does not load safely; pip install "
            "'torch>=2.6', or choose a checkpoint with open_clip_model.safetensors"
        )
    found = torch.load(path, map_location="cpu", mmap=_is_zip(path), weights_only=True)
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    yield _Renamed({key.removeprefix(_WRAPPED): key for key in tensors}, tensors.__getitem__)


def image_tensors(tensors: Tensors, model_type: str, name: str) -> dict[str, Any]:
    """Return the image tower's tensors, named as transformers names those of a `model_type`, clip or siglip.

    Raises ModelError for a tensor that has no place there; one that is missing shows when the tower is loaded.
    """
    taken = _Taken(tensors, "visual.", name)
    if model_type == "siglip":
        found = _mapped(taken, "trunk.", _TIMM_IMAGE, "trunk.blocks.", _TIMM_BLOCK)
        if (positions := found.get("embeddings.position_embedding.weight")) is not None:
            found["embeddings.position_embedding.weight"] = positions.squeeze(0)
        for kind in ("weight", "bias"):
            parts = [taken.take(f"trunk.attn_pool.{part}.{kind}") for part in ("q", "kv")]
            if all(part is not None for part in parts):
                found[f"head.attention.in_proj_{kind}"] = import_torch().cat(parts)
        taken.check_rest()
        return {f"vision_model.{key}": value for key, value in found.items()}
    found = _mapped(taken, "", _IMAGE, "transformer.resblocks.", _BLOCK)
    projection = taken.take("proj")
    taken.check_rest()
    named = {f"vision_model.{key}": value for key, value in found.items()}
    return named | ({} if projection is None else {"visual_projection.weight": projection.T.contiguous()})


def text_tensors(tensors: Tensors, model_type: str, name: str) -> dict[str, Any]:
    """Return the text tower's tensors, named as transformers names those of a `model_type`: clip, metaclip_2, siglip.

    Raises ModelError for a tensor that has no place there.
    """
    apart = any(key.startswith("text.") for key in tensors.names())
    taken = _Taken(tensors, "text." if apart else "", name)
    found = _mapped(taken, "", _TEXT, "transformer.resblocks.", _BLOCK)
    named = {f"text_model.{key}": value for key, value in found.items()}
    projection, bias = taken.take("text_projection"), taken.take("text_projection.bias")
    weight = taken.take("text_projection.weight") if projection is None else projection.T.contiguous()
    taken.check_rest()
    if weight is None:
        return named
    if model_type != "siglip":
        return named | {"text_projection.weight": weight} | ({} if bias is None else {"text_projection.bias": bias})
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return named | {"text_model.head.weight": weight, "text_model.head.bias": bias}


class _Renamed:
    def __init__(self, keys: Mapping[str, str], read: Any) -> None:
        self._keys = keys
        self._read = read

    def names(self) -> set[str]:
        return set(self._keys)

    def read(self, name: str) -> Any:
        return self._read(self._keys[name])


class _Taken:
    """The tensors of one tower, each taken once."""

    def __init__(self, tensors: Tensors, prefix: str, name: str) -> None:
        self._tensors = tensors
        self._prefix = prefix
        self._name = name
        keys = {key.removeprefix(prefix) for key in tensors.names() if key.startswith(prefix)}
        self.left = {key for key in keys if key not in _NO_WEIGHTS and (prefix or not key.startswith("visual."))}

    def take(self, key: str) -> Any:
        """Return a tensor, or None if there is none of that name."""
        if key not in self.left:
            return None
        self.left.discard(key)
        return self._tensors.read(self._prefix + key)

    def check_rest(self) -> None:
        if self.left:
            first = display(self._prefix + min(self.left))
            raise ModelError(
                f"{self._name}: its weights have {first} and {len(self.left) - 1} more that its open_clip_config.json "
                "does not describe; copy both from the same model"
            )


def _mapped(
    taken: _Taken, prefix: str, whole: Mapping[str, str], blocks: str, block: Mapping[str, str]
) -> dict[str, Any]:
    """Return the tensors that `whole` and, within a block, `block` name, under their new names.

    A name that ends with a dot stands for its weight and bias. A new name with {} is for queries, keys and values.
    """
    found: dict[str, Any] = {}
    numbered = re.compile(re.escape(blocks) + r"(\d+)\.(.+)")
    for key in sorted(taken.left):
        if (inside := numbered.fullmatch(key)) is not None:
            new, start = _new_name(inside[2], block), f"encoder.layers.{inside[1]}."
        else:
            new, start = _new_name(key.removeprefix(prefix), whole) if key.startswith(prefix) else "", ""
        if not new:
            continue
        tensor = taken.take(key)
        if "{}" in new:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            found |= {start + new.format(part): value.contiguous() for part, value in parts}
        else:
            found[start + new] = tensor
    return found


def _new_name(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if key == old and not old.endswith((".", "_")):
            return new
        if old.endswith((".", "_")) and key in (f"{old}weight", f"{old}bias"):
            return new + key.removeprefix(old)
    return ""


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
