"""Speed of image towers by shape, as multiples of ViT-B/32's: forward passes in turns, random weights.

    python benchmarks/model_shapes.py

They take turns, and the best round counts, because neighbours on the machine only slow them down. `ingest models` shows
the multiples.
"""

from __future__ import annotations

import time
from typing import Any

import bench

from ingest.embedding.device import import_torch, pick_devices, pick_dtype
from ingest.embedding.quick_gelu import fuse_quick_gelu

SHAPES = {  # width, depth, heads, patch, side; of SigLIP's kind or of CLIP's
    "ViT-B/32 at 224": ("CLIP", 768, 12, 12, 32, 224),
    "ViT-B/16 at 224": ("Siglip", 768, 12, 12, 16, 224),
    "ViT-B/16 at 256": ("Siglip", 768, 12, 12, 16, 256),
    "ViT-L/14 at 224": ("CLIP", 1024, 24, 16, 14, 224),
    "ViT-L/16 at 256": ("Siglip", 1024, 24, 16, 16, 256),
}


def main() -> None:
    """Time each shape in turns, and print its speed."""
    parser = bench.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch = import_torch()
    device = pick_devices(options.device)[0]
    dtype = pick_dtype("auto", device)
    towers = {name: build(*shape, device, dtype) for name, shape in SHAPES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in towers}
    with torch.inference_mode():
        for turn in range(1 + (1 if options.quick else options.rounds)):  # the first warms up
            for name, tower in towers.items():
                side = SHAPES[name][-1]
                pixels = torch.rand(options.batch, 3, side, side, device=device, dtype=getattr(torch, dtype))
                begun = time.perf_counter()
                tower(pixel_values=pixels).pooler_output.float().cpu()
                if turn:
                    seconds[name].append(time.perf_counter() - begun)
    first = min(seconds["ViT-B/32 at 224"])
    print(f"{device}, {dtype}, {options.batch} a batch")
    for name, rounds in seconds.items():
        took = min(rounds)
        print(f"{name:<16} {options.batch / took:>8.1f} images/s  {first / took:>6.3f}")


def build(kind: str, width: int, depth: int, heads: int, patch: int, side: int, device: str, dtype: str) -> Any:
    """Return an image tower of random weights."""
    torch = import_torch()
    import transformers

    config = getattr(transformers, f"{kind}VisionConfig")(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=heads,
        patch_size=patch, image_size=side,
    )  # fmt: skip
    tower = getattr(transformers, f"{kind}VisionModel")(config).to(device, getattr(torch, dtype)).eval()
    return fuse_quick_gelu(tower)


if __name__ == "__main__":
    main()
