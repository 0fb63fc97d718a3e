"""The contestants of embed.py, each in its own process, which embeds a folder for each line it reads.

    python benchmarks/embed_contestants.py NAME MODEL_FOLDER

A line is a JSON list [folder of images, folder for the vectors]; the answer is the seconds it took, for `ceiling` those
of the forward passes alone. Any Python with the contestant's packages can run it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 16  # as in the loops of READMEs


def ours(model: Path) -> Callable[[Path, Path], float]:
    """Return the pipeline of `ingest embed`, from the folder's catalog to shards in a store, with a loaded model."""
    import threading
    from contextlib import ExitStack
    from unittest import mock

    import numpy as np

    from ingest.core.records import Embedded
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import resolve
    from ingest.embedding.clip import ClipEncoder
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.progress import Progress

    checkpoint = resolve(str(model))
    steps = checkpoint.preprocessing
    encoder = ClipEncoder(checkpoint, "auto", "auto", 0)
    size = encoder.size()
    for _ in range(size.lanes):
        encoder.images(np.zeros((size.batch, steps.height, steps.width, 3), np.uint8))

    def run(pictures: Path, output: Path) -> float:
        settings = Settings(catalog=pictures / "products.csv", data=output, model=str(model))
        with ExitStack() as stack:
            pipeline = Pipeline(stack, settings, Progress(), threading.Event())
            stack.enter_context(mock.patch.object(pipeline, "encoder", return_value=encoder))
            begun = time.perf_counter()
            done = sum(isinstance(record, Embedded) for record in pipeline.embed(pipeline.images()))
        seconds = time.perf_counter() - begun
        if done != len(list(pictures.glob("*.jpg"))):
            raise SystemExit(f"only {done} pictures were embedded")
        return seconds

    return run


def ceiling(model: Path) -> Callable[[Path, Path], float]:
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


def hand_loop(model: Path) -> Callable[[Path, Path], float]:
    """Return the loop that people write by hand: open, process, embed, 16 at a time, float32."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = CLIPModel.from_pretrained(model, dtype=torch.float32).to(device).eval()
    processor = CLIPImageProcessorPil.from_pretrained(model)

    def run(pictures: Path, output: Path) -> float:
        paths = sorted(pictures.glob("*.jpg"))
        rows = []
        begun = time.perf_counter()
        for at in range(0, len(paths), BATCH):
            images = [Image.open(path).convert("RGB") for path in paths[at : at + BATCH]]
            inputs = processor(images, return_tensors="pt").to(device)
            with torch.no_grad():
                features = clip.get_image_features(**inputs)
            features = getattr(features, "pooler_output", features)
            rows.append((features / features.norm(dim=-1, keepdim=True)).cpu().numpy())
        np.save(output / "vectors.npy", np.concatenate(rows))
        return time.perf_counter() - begun

    return run


def sentence_transformers(model: Path) -> Callable[[Path, Path], float]:
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
    answers = sys.stdout
    sys.stdout = sys.stderr  # keeps the libraries' output apart from the answers
    run = CONTESTANTS[sys.argv[1]](Path(sys.argv[2]))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(run(*(Path(folder) for folder in json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
