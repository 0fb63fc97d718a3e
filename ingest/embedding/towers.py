"""A model's image tower and text tower by transformers, each loaded without the other."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import find_tokenizer, find_weights
from ingest.embedding.device import MODEL_LOADING, import_torch
from ingest.embedding.open_clip.model import OpenClipTowers
from ingest.embedding.quick_gelu import fuse_quick_gelu
from ingest.embedding.tokenizer import Tokenizer
from ingest.embedding.unsupported_checkpoints import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.embedding.checkpoint import Checkpoint

_NOT_FOR_EMBEDDING = {"logit_scale", "logit_bias"}  # they turn similarities into probabilities
# By config.json's model_type: the classes of the two towers and the names of their outputs. Other types load whole.
_TOWERS = {
    "clip": ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection", "image_embeds", "text_embeds"),
    "siglip": ("SiglipVisionModel", "SiglipTextModel", "pooler_output", "pooler_output"),
}


def open_towers(checkpoint: Checkpoint, dtype: str) -> Towers | OpenClipTowers:
    """Return the loaders of a checkpoint's towers, in `bfloat16`, `float16` or `float32`; nothing is loaded yet."""
    if checkpoint.open_clip is not None:
        return OpenClipTowers(checkpoint.source, checkpoint.open_clip, dtype)
    return Towers(checkpoint, dtype)


class Towers:
    """The loaders of one checkpoint's towers, in one dtype."""

    def __init__(self, checkpoint: Checkpoint, dtype: str) -> None:
        self._source = checkpoint.source
        self._dtype = dtype

    def images(self, device: str) -> Callable[[Any], Any]:
        """Load the function from pixel values to features, (n, dim); raises ModelError if it cannot be loaded."""
        known = self._known()
        if known is None:
            model = self._model("AutoModel", device, "get_image_features")
            return lambda pixels: _tensor(model.get_image_features(pixel_values=pixels), "pooler_output")
        tower = fuse_quick_gelu(self._model(known[0], device, config=self.config.vision_config))
        return lambda pixels: _tensor(tower(pixel_values=pixels), known[2])

    def texts(self, device: str) -> Callable[..., Any]:
        """Load the function from tokens to features, (n, dim); raises ModelError if it cannot be loaded."""
        known = self._known()
        if known is None:
            model = self._model("AutoModel", device, "get_text_features")
            return lambda **tokens: _tensor(model.get_text_features(**tokens), "pooler_output")
        tower = self._model(known[1], device, config=self.config.text_config)
        return lambda **tokens: _tensor(tower(**tokens), known[3])

    def tokenizer(self) -> Tokenizer:
        """Load the model's tokenizer; raises ModelError if it belongs to another model."""
        return Tokenizer(self._source, find_tokenizer(self._source), self.config)

    @cached_property
    def config(self) -> Any:
        """The model's configuration."""
        config = self._load("AutoConfig")
        if config.model_type == "clip":  # as CLIPModel does: the model's own projection_dim counts for both towers
            config.vision_config.projection_dim = config.text_config.projection_dim = config.projection_dim
        return config

    def _known(self) -> tuple[str, str, str, str] | None:
        return _TOWERS.get(self.config.model_type)

    def _model(self, kind: str, device: str, method: str = "", **options: Any) -> Any:
        torch = import_torch()
        name = self._source.name
        if not find_weights(self._source):
            raise refusal(self._source, "has no model.safetensors; choose a CLIP or SigLIP that transformers loads")
        model, found = self._load(kind, dtype=getattr(torch, self._dtype), output_loading_info=True, **options)
        if missing := sorted(set(found["missing_keys"]) - _NOT_FOR_EMBEDDING):
            # transformers would fill them with random numbers, and every search would return nonsense.
            raise ModelError(f"{name}: its weights lack {missing[0]} and {len(missing) - 1} more; {self._source.fix}")
        if method and not hasattr(model, method):
            raise ModelError(f"{name}: has no {method}; choose a CLIP or SigLIP model")
        try:
            return model.to(device).eval()
        except RuntimeError as error:
            raise ModelError(f"{name}: cannot be put on {device} ({_first_line(error)})") from error

    def _load(self, kind: str, **options: Any) -> Any:
        """Load from local files; the caller fetches them first, because transformers treats missing files as empty."""
        import_torch()
        import transformers

        config = self._source.get("config.json")
        if config is None:
            raise ModelError(f"{self._source.name}: has no config.json; {self._source.fix}")
        load = getattr(transformers, kind).from_pretrained
        try:
            with MODEL_LOADING:
                return load(config.parent, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # damaged files raise nearly any error: SafetensorError, UnpicklingError, …
            name = self._source.name
            raise ModelError(f"{name}: cannot be loaded ({_first_line(error)}); see ingest doctor") from error


def _tensor(features: Any, name: str) -> Any:
    """Return the tensor in an output of transformers 5; in transformers 4, get_image_features returns it bare."""
    return getattr(features, name, features)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
