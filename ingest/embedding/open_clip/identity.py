"""Whether a checkpoint is open_clip's, and what identifies it: its settings and the bytes of its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core import canonical_json
from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, WEIGHTS, read_json
from ingest.embedding.open_clip import architecture, pixels
from ingest.embedding.open_clip.texts import tokenizer_source

if TYPE_CHECKING:
    from ingest.embedding.checkpoint_files import CheckpointSource
    from ingest.embedding.open_clip.architecture import Architecture
    from ingest.embedding.preprocess import Preprocessing


@dataclass(frozen=True, slots=True)
class OpenClipCheckpoint:
    """What an open_clip checkpoint is; `revision` is `sha256:…` of its settings and weights."""

    architecture: Architecture
    preprocessing: Preprocessing
    revision: str


def is_open_clip(source: CheckpointSource) -> bool:
    """Return whether a checkpoint is open_clip's: if it is not also one that transformers loads without its code.

    The hub is asked only if the cache does not tell; config.json is cached if there is one, because whoever asks has
    looked. If both kinds are possible and the hub cannot be reached, the answer is that of transformers, whose
    checkpoints must not change their embedding space.
    """
    config = read_json(source, "config.json", source.cached)
    by_transformers = (
        config is not None
        and not config.get("auto_map")  # classes that the repository brings along, as marqo's do around open_clip
        and ("text_config" in config or "text_config_dict" in config)
    )
    if by_transformers and any(map(source.cached, WEIGHTS)):
        return False
    try:
        if source.get(OPEN_CLIP_CONFIG) is None:
            return False
        return not by_transformers or (not any(map(source.has, WEIGHTS)) and any(map(source.has, OPEN_CLIP_WEIGHTS)))
    except ModelError:  # the hub cannot be reached: what needs it says so
        return False


def identify(source: CheckpointSource) -> OpenClipCheckpoint:
    """Return what an open_clip checkpoint is; its tokenizer is fetched if necessary, its weights are not.

    The revision covers `model_cfg` and the SHA-256 of the weights, so that a hub id and a folder with the same bytes
    are one embedding space. Raises ModelError if it is incomplete or not supported.
    """
    known, preprocessing = read_configuration(source)
    weights = next(filter(source.cached, OPEN_CLIP_WEIGHTS), None) or next(filter(source.has, OPEN_CLIP_WEIGHTS), None)
    if weights is None:
        raise ModelError(f"{source.name}: has no {' and no '.join(OPEN_CLIP_WEIGHTS)}; {source.fix}")
    tokenizer_source(source, known.reading)
    content = canonical_json.encode(_model(source)) + source.sha256(weights)
    return OpenClipCheckpoint(known, preprocessing, f"sha256:{hashlib.sha256(content.encode()).hexdigest()}")


def read_configuration(source: CheckpointSource) -> tuple[Architecture, Preprocessing]:
    """Return what an open_clip checkpoint computes and how images are prepared for it; raises ModelError."""
    known = architecture.parse(_model(source), source.name)
    steps = (read_json(source, OPEN_CLIP_CONFIG) or {}).get("preprocess_cfg") or {}
    if not isinstance(steps, dict):
        raise ModelError(f"{source.name}: its preprocess_cfg is not a JSON object; {source.fix}")
    return known, pixels.preprocessing(steps, known.side, source.name)


def _model(source: CheckpointSource) -> dict[str, Any]:
    model = (read_json(source, OPEN_CLIP_CONFIG) or {}).get("model_cfg")
    if not isinstance(model, dict):
        raise ModelError(f"{source.name}: its {OPEN_CLIP_CONFIG} has no model_cfg; {source.fix}")
    return model
