"""From JPEGs on disk to unit vectors on disk: ingest, a hand-written loop, sentence-transformers, the forward pass.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install sentence-transformers pillow
    python benchmarks/embed.py --sentence-transformers /tmp/peer/bin/python --json embed.json

The model has the shape of ViT-B/32 (or ViT-L/14) and random weights, which do not affect speed. Each contestant is a
process that has loaded its model before it is timed. They take turns; ratios are of medians over the rounds.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from contestant import Contestant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

SHAPES: dict[str, dict[str, Any]] = {
    "ViT-B/32": {},
    "ViT-L/14": {
        "projection_dim": 768,
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "patch_size": 14,
        },
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    },
}  # fmt: skip
PROGRAM = "embed_contestants.py"
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field")


def main() -> None:
    """Run all contestants in turns, and print and write the figures."""
    parser = bench.parser(__doc__)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, default="ViT-B/32")
    parser.add_argument("--sentence-transformers", metavar="PYTHON", help="a Python that has sentence-transformers")
    options = parser.parse_args()
    pictures, rounds = (32, 1) if options.quick else (options.pictures, options.rounds)
    sides = (800,) if options.quick else (800, 2000)
    pythons = {"ours": sys.executable, "hand_loop": sys.executable, "ceiling": sys.executable}
    if options.sentence_transformers:
        pythons["sentence_transformers"] = options.sentence_transformers
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = write_model(folder / "model", SHAPES[options.shape])
        for side in sides:
            write_pictures(folder / str(side), side, pictures)
        contestants = {name: stack.enter_context(Contestant(PROGRAM, name, str(model), python=python))
                       for name, python in pythons.items()}  # fmt: skip
        rows: list[bench.Row] = [
            {"contestant": name, "side": side, "round": turn, "pictures_per_s": rate(one, folder / str(side), pictures)}
            for turn in range(rounds)
            for side in sides
            for name, one in contestants.items()
        ]
    rates = {(name, side): bench.median(rows, "pictures_per_s", contestant=name, side=side)
            for name in pythons for side in sides}  # fmt: skip
    ratios = {"vs_hand_loop": rates["ours", 800] / rates["hand_loop", 800],
              "of_ceiling": rates["ours", 800] / rates["ceiling", 800]}  # fmt: skip
    if options.sentence_transformers:
        ratios["vs_sentence_transformers"] = rates["ours", 800] / rates["sentence_transformers", 800]
    if 2000 in sides:
        ratios["vs_hand_loop_2000"] = rates["ours", 2000] / rates["hand_loop", 2000]
        ratios["of_ceiling_2000"] = rates["ours", 2000] / rates["ceiling", 2000]
    bench.finish("embed", rows, ratios, options.json, ("torch", "transformers", "Pillow"))


def rate(contestant: Contestant, pictures: Path, count: int) -> float:
    """Embed the folder's images; return how many a second."""
    with tempfile.TemporaryDirectory() as output:
        return count / float(contestant.ask([str(pictures), output]))


def write_model(folder: Path, shape: dict[str, Any]) -> Path:
    """Write a CLIP of this configuration with random weights (always the same), its preprocessing and a tokenizer."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    sample = bench.ROOT / "data" / "models" / "sample-clip"
    text = json.loads((sample / "config.json").read_text(encoding="utf-8"))["text_config"]
    tokens = {name: text[name] for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    config = CLIPConfig(**{**shape, "text_config": {**shape.get("text_config", {}), **tokens}})
    CLIPModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sample / name, folder / name)
    steps = json.loads((sample / "preprocessor_config.json").read_text(encoding="utf-8"))
    steps |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(steps), encoding="utf-8")
    # sentence-transformers recognises a CLIP by a processor with both parts
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "CLIPProcessor", "image_processor": steps}), encoding="utf-8"
    )
    return folder


def write_pictures(folder: Path, side: int, count: int) -> None:
    """Write square JPEGs cut from photographs, no two alike, and a catalog of them."""
    folder.mkdir()
    for number, square in enumerate(photographs(side, count)):
        square.save(folder / f"p{number:04d}.jpg", quality=90)
    rows = "".join(f"P{number},p{number:04d}.jpg\n" for number in range(count))
    (folder / "products.csv").write_text(f"product_id,image\n{rows}", encoding="utf-8")


def photographs(side: int, count: int) -> Iterator[Image.Image]:
    """Yield squares cut from photographs, no two alike, of `side` by `side` pixels."""
    from PIL import Image
    from skimage import data

    whole = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in PHOTOGRAPHS]
    for number in range(count):
        photograph = whole[number % len(whole)]
        edge = min(photograph.size) - 3 * (number // len(whole)) % (min(photograph.size) // 3)
        left, top = number % (photograph.width - edge + 1), number % (photograph.height - edge + 1)
        yield photograph.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + edge, top + edge))


if __name__ == "__main__":
    main()
