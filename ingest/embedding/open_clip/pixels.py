"""What open_clip does to an image before the model gets it, from its config's `preprocess_cfg`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import display
from ingest.embedding.preprocess import CLIP, Preprocessing, check_possible, three_channels

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESAMPLE = {"bicubic": 3, "random": 3, "bilinear": 2}  # Pillow's numbers; `random` is bicubic except in training
_READ = {"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"}


def preprocessing(config: Mapping[str, Any], side: int, name: str) -> Preprocessing:
    """Return the steps that a `preprocess_cfg` describes, for a tower that takes `side` × `side` pixels.

    open_clip goes by the tower's size, whatever the config says (src/open_clip/factory.py, create_model). `name` is the
    checkpoint's, for messages. Raises ModelError for steps that this tool cannot do.
    """
    given = {key: value for key, value in config.items() if key in _READ and value is not None}
    resize, interpolation = given.get("resize_mode", "shortest"), given.get("interpolation", "bicubic")
    if resize not in ("shortest", "squash") or interpolation not in _RESAMPLE or given.get("mode", "RGB") != "RGB":
        raise ModelError(
            f"{name}: its preprocess_cfg has resize_mode {display(resize)}, interpolation {display(interpolation)} and "
            f"mode {display(given.get('mode', 'RGB'))}; this tool does shortest or squash, bicubic or bilinear, and RGB"
        )
    keep_aspect = resize == "shortest"
    try:
        mean, std = (
            three_channels([value] * 3 if isinstance(value, int | float) else value)
            for value in (given.get("mean", CLIP.mean), given.get("std", CLIP.std))
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: its preprocess_cfg has a value that cannot be read ({error!r})") from error
    short = side if keep_aspect else 0
    steps = Preprocessing(side, side, short, keep_aspect, _RESAMPLE[interpolation], mean, std, rounded_crop=keep_aspect)
    check_possible(steps, name)
    return steps
