"""What open_clip itself computes, where it is installed: an environment of its own, with torchvision and timm.

The project does not install them (docs/decisions.md), and no test imports this module; `scripts/record_open_clip.py`
and `benchmarks/open_clip_equality.py` do. To make the environment:

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 transformers==5.23.0 safetensors pillow numpy ftfy regex
    oracle/bin/pip install --no-deps open_clip_torch==3.3.0 torchvision==0.28.0 timm==1.0.31
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_SIZES = (
    (33, 47), (200, 31), (31, 200), (500, 375), (64, 64), (32, 32), (700, 37), (101, 67), (67, 102), (640, 427)
)  # fmt: skip
TEXTS = (
    "red cup",
    "Red CUP",
    "a",
    "the red mug with a blue lamp " * 9,
    "  a\tchair,  of\nthe_red-lamp!  ",
    "it&amp;s the “red” cup’s",
    "été rouge, tasse",
    "红 杯",
    "κούπα ΚΌΚΚΙΝΗ",
    "ｒｅｄ ﬁne cup",
    "aAbB ab ba Éß ΣΣ",
    "☕ 100 % red!",
)


def images() -> list[Image.Image]:
    """Return RGB images of odd sizes, the same everywhere: smooth, with an edge that a shift of the crop would show."""
    pictures = []
    for number, (width, height) in enumerate(IMAGE_SIZES):
        random = np.random.RandomState(number)
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        waves = [np.sin(x / random.uniform(3, 9) + shift) * np.cos(y / random.uniform(3, 9)) for shift in range(3)]
        pixels = 127 + 90 * np.stack(waves, axis=-1)
        pixels[height // 3 :, width // 2 :] *= 0.4
        pictures.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return pictures


@cache
def import_open_clip() -> Any:
    """Import open_clip; torchvision without its compiled operators needs two definitions first."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import open_clip

    open_clip.the_library = library  # the definitions live as long as it does
    return open_clip


class Oracle:
    """A checkpoint loaded by open_clip; `shrunk` are sizes for timm's tower, which it knows by name only."""

    def __init__(self, folder: Path, shrunk: dict[str, Any] | None = None) -> None:
        self._open_clip = import_open_clip()
        import timm

        create = timm.create_model
        if shrunk:
            timm.create_model = lambda name, **options: create(name, **{**options, **shrunk})
        try:
            name = f"local-dir:{folder}"
            self.model, _, self.transform = self._open_clip.create_model_and_transforms(name)
        finally:
            timm.create_model = create
        self.model.eval()
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        if config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
            self.tokenizer = self._open_clip.get_tokenizer(name)
        else:
            self.tokenizer = self._clips_own(folder, config["model_cfg"]["text_cfg"])

    def embed_images(self, pictures: list[Image.Image]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return features, (n, dim), and the first image's rows after each block."""
        import torch

        visual = self.model.visual
        blocks = visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks
        with torch.inference_mode():
            pixels = [self.transform(picture).unsqueeze(0) for picture in pictures]
            layers = rows_after(blocks, lambda: self.model.encode_image(pixels[0]))
            return torch.cat([self.model.encode_image(one) for one in pixels]).numpy(), layers

    def embed_texts(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Return tokens, (n, context), features, (n, dim), and the first text's rows after each block."""
        import torch

        text = self.model.text if hasattr(self.model, "text") else self.model
        tokens = self.tokenizer(texts)
        with torch.inference_mode():
            layers = rows_after(text.transformer.resblocks, lambda: self.model.encode_text(tokens[:1]))
            return tokens.numpy(), self.model.encode_text(tokens).numpy(), layers

    def _clips_own(self, folder: Path, text: dict[str, Any]) -> Any:
        """Return open_clip's own tokenizer, with the merges of the folder's tokenizer.json."""
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in tokenizer["model"]["merges"]]
        path = folder / "merges.txt.gz"
        path.write_bytes(gzip.compress("\n".join(["#version", *merges]).encode()))
        context = text.get("context_length", 77)
        own = self._open_clip.tokenizer.SimpleTokenizer(bpe_path=str(path), context_length=context)
        path.unlink()
        return own


def rows_after(blocks: Any, run: Any) -> list[np.ndarray]:
    """Return what each block gives for the first item while `run` is called, (tokens, width)."""
    found: list[np.ndarray] = []

    def note(_block: Any, _given: Any, result: Any) -> None:
        found.append((result[0] if isinstance(result, tuple) else result)[0].detach().float().numpy().copy())

    hooks = [block.register_forward_hook(note) for block in blocks]
    run()
    for hook in hooks:
        hook.remove()
    return found
