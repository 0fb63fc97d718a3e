"""Compares full-size open_clip models with open_clip itself: random weights, images of odd sizes, texts of all kinds.

Run it where open_clip and this project's packages are installed (`tests/support/open_clip_oracle.py` says how):

    PYTHONPATH=.:tests oracle/bin/python benchmarks/open_clip_equality.py [NAME…]

Prints, for each model, the lowest cosine of images and texts and the largest difference after any block, in float32;
and which of open_clip's own configurations are loaded and which are refused, with the reason.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.open_clip_checkpoints import HALF, OPENAI
from support.open_clip_oracle import TEXTS, Oracle, images, import_open_clip, rows_after

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.encoder import normalize
from ingest.embedding.open_clip import architecture
from ingest.embedding.towers import open_towers

MODELS = (
    "ViT-B-32", "ViT-B-32-quickgelu", "ViT-L-14", "ViT-B-16-SigLIP", "ViT-L-16-SigLIP-256", "ViT-B-16-SigLIP2",
)  # fmt: skip


def main(names: list[str]) -> None:
    open_clip = import_open_clip()
    print(f"{'model':<22} {'images':>10} {'texts':>10} {'image blocks':>13} {'text blocks':>12}")
    for name in names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            write(open_clip, name, Path(folder))
            print(f"{name:<22} " + "{:>10.7f} {:>10.7f} {:>13.1e} {:>12.1e}".format(*compare(Path(folder))), flush=True)
    if not names:
        print_configurations(open_clip)


def write(open_clip: Any, name: str, folder: Path) -> None:
    """Write a checkpoint of random weights as open_clip saves it, with a tokenizer of its kind and size."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    model = open_clip.create_model(name, pretrained=None)
    with torch.no_grad():
        for tensor in model.parameters():  # biases and norms start at 0 and 1, which would hide one put elsewhere
            if tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor) * 0.02)
    steps = HALF if "SigLIP" in name else OPENAI
    steps = {**steps, "interpolation": "bicubic", "resize_mode": "squash" if "SigLIP" in name else "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": steps}))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    write_tokenizer(open_clip, config["text_cfg"]["vocab_size"], folder)


def write_tokenizer(open_clip: Any, size: int, folder: Path) -> None:
    """Write CLIP's tokenizer, T5's kind with 32,000 pieces, or Gemma's with 256,000; the last two of made-up words."""
    from transformers import CLIPTokenizer, GemmaTokenizer, T5Tokenizer

    words = [f"▁{word}" for text in TEXTS for word in text.lower().split() if word.isalpha()]
    letters = list("▁abcdefghijklmnopqrstuvwxyz0123456789éßσκούπαόηνιж红杯")
    if size == 49408:
        own = open_clip.tokenizer.SimpleTokenizer()
        names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        vocabulary = {names.get(piece, piece): number for piece, number in own.encoder.items()}
        CLIPTokenizer(vocab=vocabulary, merges=list(own.bpe_ranks)).save_pretrained(folder)
    elif size == 256000:
        special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
        pieces = list(dict.fromkeys([*special, *letters, "re", "red", "▁red", "cu", "cup", "▁cup"]))
        pieces += [f"spare{number}" for number in range(size - len(pieces))]
        merges = [("r", "e"), ("re", "d"), ("▁", "red"), ("c", "u"), ("cu", "p"), ("▁", "cup")]
        made = {piece: number for number, piece in enumerate(pieces)}
        settings = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
        GemmaTokenizer(vocab=made, merges=merges, **settings).save_pretrained(folder)
    else:
        pieces = list(dict.fromkeys(["<pad>", "</s>", "<unk>", *letters, *words]))
        pieces += [f"▁spare{number}" for number in range(size - len(pieces))]
        scores = [(piece, -2.0 - 8 * (len(piece) == 1)) for piece in pieces]
        T5Tokenizer(vocab=scores, extra_ids=0, pad_token="</s>").save_pretrained(folder)  # noqa: S106


def compare(folder: Path) -> tuple[float, float, float, float]:
    """Return the lowest cosines of images and of texts, and the largest differences after their blocks."""
    oracle = Oracle(folder)
    pictures, texts = images(), list(TEXTS)
    rows, image_layers = oracle.embed_images(pictures)
    _, features, text_layers = oracle.embed_texts(texts)
    del oracle
    checkpoint = resolve(str(folder))
    towers, steps = open_towers(checkpoint, "float32"), checkpoint.preprocessing
    tokens = towers.tokenizer()
    pixels = np.stack([steps(picture) for picture in pictures]).astype(np.float32) / 255
    batch = torch.tensor((pixels - steps.mean) / steps.std, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.inference_mode():
        image = towers.images("cpu")
        found = [image(batch).numpy()]
        ours = [rows_after(blocks(image), lambda: image(batch[:1]))]
        text = towers.texts("cpu")
        found.append(text(**tokens(texts)).numpy())
        ours.append(rows_after(blocks(text), lambda: text(**tokens(texts[:1]))))
    least = [
        float((normalize(one) * normalize(other)).sum(axis=1).min())
        for one, other in zip(found, (rows, features), strict=True)
    ]
    most = [
        max(float(np.abs(a - b[: len(a)]).max()) for a, b in zip(one, other, strict=True))
        for one, other in zip(ours, (image_layers, text_layers), strict=True)
    ]
    return least[0], least[1], most[0], most[1]


def blocks(tower: Any) -> Any:
    """Return the blocks of a tower that a loader returned."""
    model = inspect.getclosurevars(tower).nonlocals["tower"]
    return next(part.layers for part in model.modules() if hasattr(part, "layers"))


def print_configurations(open_clip: Any) -> None:
    """Print how many of open_clip's own configurations are loaded, and why the others are not."""
    refused: Counter[str] = Counter()
    names = open_clip.list_models()
    for name in names:
        try:
            architecture.parse(open_clip.get_model_config(name), "it")
        except ModelError as error:
            refused[str(error).removeprefix("it: ").partition(", which")[0]] += 1
    print(f"\n{len(names) - refused.total()} of open_clip's {len(names)} configurations are loaded; the others:")
    for reason, count in refused.most_common():
        print(f"{count:>4}  {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
