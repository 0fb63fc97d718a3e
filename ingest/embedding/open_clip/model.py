"""An open_clip checkpoint's towers, loaded into transformers' own classes, each without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import OPEN_CLIP_WEIGHTS, find_weights
from ingest.embedding.device import MODEL_LOADING, import_torch
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
        with MODEL_LOADING:
            model, info = getattr(transformers, classes[0]).from_pretrained(
                None, config=config, state_dict=found, dtype=getattr(torch, self._dtype), output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below
            )  # fmt: skip
        for kind, what in (("missing_keys", "lack"), ("unexpected_keys", "have")):
            if keys := sorted(map(str, info[kind])):
                raise self._misfit(
                    f"its weights {what} {keys[0]} and {len(keys) - 1} more (as transformers calls them)"
                )
        for key, has, expected in sorted(map(tuple, info["mismatched_keys"])):
            sizes = [" × ".join(map(str, shape)) for shape in (has, expected)]
            raise self._misfit(f"its weights' {key} has the size {sizes[0]}, not {sizes[1]}")
        try:
            return model.to(device).eval()
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0][:200]
            raise ModelError(f"{name}: cannot be put on {device} ({said})") from error

    def _misfit(self, what: str) -> ModelError:
        return ModelError(f"{self._source.name}: {what}, against its open_clip_config.json; {self._source.fix}")


def _sizes(found: Mapping[str, Any]) -> dict[str, int]:
    """Return how deep a tower of timm's is and how wide its MLP, which a name stands for, as the weights have them."""
    inner = found.get(f"{_BLOCK}0.mlp.fc1.weight")
    if inner is None:
        return {}  # then it is reported as missing
    layers = {int(key.removeprefix(_BLOCK).split(".")[0]) for key in found if key.startswith(_BLOCK)}
    return {"num_hidden_layers": 1 + max(layers), "intermediate_size": len(inner)}
