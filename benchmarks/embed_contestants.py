"""The contestants of embed.py, each in its own process, which embeds a folder for each line it reads.

    python benchmarks/embed_contestants.py NAME MODEL_FOLDER

A line is a JSON list [folder of images, folder for the vectors]; the answer is the seconds it took, for `ceiling` those
of the forward passes alone. Any Python with the contestant's packages can run it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from contestant import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.embedding.clip import ClipEncoder

Run: TypeAlias = "Callable[[Path, Path], float]"
BATCH = 16  # as in the loops of READMEs


def ours(model: Path) -> Run:
    """Return the pipeline of `ingest embed`, from the folder's catalog to shards in a store, with a loaded model."""
    from contextlib import ExitStack

    from whole_line import opened, use_encoder

    from ingest.core.records import Embedded

    encoder = warm_encoder(model)

    def run(pictures: Path, output: Path) -> float:
        with ExitStack() as stack:
            pipeline = opened(stack, model, pictures / "products.csv", output)
            use_encoder(stack, pipeline, encoder)
            begun = time.perf_counter()
            done = sum(isinstance(record, Embedded) for record in pipeline.embed(pipeline.images()))
        seconds = time.perf_counter() - begun
        if done != len(list(pictures.glob("*.jpg"))):
            raise SystemExit(f"only {done} pictures were embedded")
        return seconds

    return run


def warm_encoder(model: Path) -> ClipEncoder:
    """Return the tool's encoder, loaded, each lane having embedded a batch."""
    import numpy as np

    from ingest.embedding.checkpoint import resolve
    from ingest.embedding.clip import ClipEncoder

    checkpoint = resolve(str(model))
    steps = checkpoint.preprocessing
    encoder = ClipEncoder(checkpoint, "auto", "auto", 0)
    size = encoder.size()
    for _ in range(size.lanes):
        encoder.images(np.zeros((size.batch, steps.height, steps.width, 3), np.uint8))
    return encoder


def ceiling(model: Path) -> Run:
    """Return the forward pass alone, on tensors in memory, in the dtype that ingest uses."""
    import torch
    from transformers import CLIPVisionModelWithProjection

    from ingest.embedding.device import pick_devices, pick_dtype

    device = pick_devices("auto")[0]
    dtype = getattr(torch, pick_dtype("auto", device))
    tower = CLIPVisionModelWithProjection.from_pretrained(model, dtype=dtype).to(device).eval()
    side = tower.config.image_size
    batch = torch.randn(32, 3, side, side).to(device, dtype)
    with torch.inference_mode():
        tower(pixel_values=batch)

    def run(pictures: Path, _output: Path) -> float:
        passes = -(-len(list(pictures.glob("*.jpg"))) // len(batch))
        begun = time.perf_counter()
        with torch.inference_mode():
            for _ in range(passes):
                tower(pixel_values=batch).image_embeds.float().cpu()
        return (time.perf_counter() - begun) * len(list(pictures.glob("*.jpg"))) / (passes * len(batch))

    return run


def hand_loop(model: Path, batch: int = BATCH) -> Run:
    """Return the loop that people write by hand: open, process, embed, `batch` at a time, float32."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = CLIPModel.from_pretrained(model, dtype=torch.float32).to(device).eval()
    processor = CLIPImageProcessor.from_pretrained(model)

    def run(pictures: Path, output: Path) -> float:
        paths = sorted(pictures.glob("*.jpg"))
        rows = []
        begun = time.perf_counter()
        for at in range(0, len(paths), batch):
            images = [Image.open(path).convert("RGB") for path in paths[at : at + batch]]
            inputs = processor(images, return_tensors="pt").to(device)
            with torch.no_grad():
                features = clip.get_image_features(**inputs)
            features = getattr(features, "pooler_output", features)
            rows.append((features / features.norm(dim=-1, keepdim=True)).cpu().numpy())
        np.save(output / "vectors.npy", np.concatenate(rows))
        return time.perf_counter() - begun

    return run


def sentence_transformers(model: Path) -> Run:
    """Return sentence-transformers' encode, as documented for images, with its default batch."""
    import numpy as np
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(model))

    def run(pictures: Path, output: Path) -> float:
        begun = time.perf_counter()
        images: list[Any] = [Image.open(path) for path in sorted(pictures.glob("*.jpg"))]
        np.save(output / "vectors.npy", encoder.encode(images, normalize_embeddings=True))
        return time.perf_counter() - begun

    return run


CONTESTANTS = {one.__name__: one for one in (ours, hand_loop, sentence_transformers, ceiling)}


def main() -> None:
    """Serve one contestant until stdin ends."""

    def prepare() -> Callable[[list[str]], float]:
        run = CONTESTANTS[sys.argv[1]](Path(sys.argv[2]))
        return lambda folders: run(*map(Path, folders))

    serve(prepare)


if __name__ == "__main__":
    main()
