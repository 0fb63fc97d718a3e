"""An open_clip checkpoint's towers, loaded into transformers' own classes, each without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import OPEN_CLIP_WEIGHTS, find_weights
from ingest.embedding.device import import_torch
from ingest.embedding.open_clip import tensors
from ingest.embedding.open_clip.texts import OpenClipTokenizer
from ingest.embedding.quick_gelu import fuse_quick_gelu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from ingest.embedding.checkpoint_files import CheckpointSource
    from ingest.embedding.open_clip.architecture import Architecture

# By a tower's type: transformers' class and its configuration's, and the output that holds the features.
_IMAGE = {
    "clip": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", "image_embeds"),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", "pooler_output"),
}
_TEXT = {
    "clip": ("CLIPTextModelWithProjection", "CLIPTextConfig", "text_embeds"),
    "metaclip_2": ("MetaClip2TextModelWithProjection", "MetaClip2TextConfig", "text_embeds"),
    "siglip": ("SiglipTextModel", "SiglipTextConfig", "pooler_output"),
}
_BLOCK = "vision_model.encoder.layers."


class OpenClipTowers:
    """The loaders of one checkpoint's towers, in one dtype."""

    def __init__(self, source: CheckpointSource, architecture: Architecture, dtype: str) -> None:
        self._source = source
        self._architecture = architecture
        self._dtype = dtype

    def images(self, device: str) -> Callable[[Any], Any]:
        """Load the function from pixel values to features, (n, dim); raises ModelError if it cannot be loaded."""
        kind = self._architecture.image.model_type
        with self._open() as weights:
            found = tensors.image_tensors(weights, kind, self._source.name)
            settings = dict(self._architecture.image.settings)
            if kind == "siglip":
                settings |= _sizes(found)
            tower = fuse_quick_gelu(self._build(_IMAGE[kind], settings, found, device))
        output = _IMAGE[kind][2]
        return lambda pixels: getattr(tower(pixel_values=pixels), output)

    def texts(self, device: str) -> Callable[..., Any]:
        """Load the function from tokens to features, (n, dim); raises ModelError if it cannot be loaded."""
        kind = self._architecture.text.model_type
        with self._open() as weights:
            found = tensors.text_tensors(weights, kind, self._source.name)
            tower = self._build(_TEXT[kind], dict(self._architecture.text.settings), found, device)
        output = _TEXT[kind][2]
        return lambda **tokens: getattr(tower(**tokens), output)

    def tokenizer(self) -> OpenClipTokenizer:
        """Load the model's tokenizer; raises ModelError if it belongs to another model."""
        return OpenClipTokenizer(self._source, self._architecture)

    def _open(self) -> AbstractContextManager[tensors.Tensors]:
        """Open the weights, fetched if necessary."""
        paths = find_weights(self._source, OPEN_CLIP_WEIGHTS)
        if not paths:
            raise ModelError(f"{self._source.name}: has no {OPEN_CLIP_WEIGHTS[0]}; {self._source.fix}")
        return tensors.open_tensors(paths[0], self._source.name)

    def _build(
        self, classes: tuple[str, str, str], settings: Mapping[str, Any], found: dict[str, Any], device: str
    ) -> Any:
        torch = import_torch()
        import transformers

        name = self._source.name
        if not hasattr(transformers, classes[0]):
            raise ModelError(f"{name}: transformers {transformers.__version__} has no {classes[0]}; update it")
        config = getattr(transformers, classes[1])(**settings)
        model, info = getattr(transformers, classes[0]).from_pretrained(
            None, config=config, state_dict=found, dtype=getattr(torch, self._dtype), output_loading_info=True
        )
        for kind, what in (("missing_keys", "lack"), ("unexpected_keys", "have")):
            if keys := sorted(map(str, info[kind])):
                raise ModelError(
                    f"{name}: its weights {what} {keys[0]} and {len(keys) - 1} more (as transformers calls them), "
                    f"against its open_clip_config.json; {self._source.fix}"
                )
        try:
            return model.to(device).eval()
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0][:200]
            raise ModelError(f"{name}: cannot be put on {device} ({said})") from error


def _sizes(found: Mapping[str, Any]) -> dict[str, int]:
    """Return what timm's name does not say of a tower: its width, depth and MLP, as its weights have them."""
    patches = found.get("vision_model.embeddings.patch_embedding.weight")
    inner = found.get(f"{_BLOCK}0.mlp.fc1.weight")
    if patches is None or inner is None:
        return {}  # then they are reported as missing
    layers = {int(key.removeprefix(_BLOCK).split(".")[0]) for key in found if key.startswith(_BLOCK)}
    return {
        "hidden_size": int(patches.shape[0]),
        "patch_size": int(patches.shape[-1]),
        "num_hidden_layers": 1 + max(layers),
        "intermediate_size": len(inner),
    }
