"""Records what open_clip computes from the small checkpoints of the tests; run it where open_clip is installed.

    PYTHONPATH=tests oracle/bin/python scripts/record_open_clip.py

`tests/support/open_clip_oracle.py` says how to make that environment. Writes tests/support/open_clip_outputs.npz.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from support.open_clip_checkpoints import FAMILIES, LAYERS, SIDE, WIDTH, write_open_clip
from support.open_clip_oracle import TEXTS, Oracle, images

RECORDED = Path(__file__).parents[1] / "tests" / "support" / "open_clip_outputs.npz"
_SHRUNK = {"img_size": SIDE, "embed_dim": WIDTH, "depth": LAYERS, "patch_size": 16, "mlp_ratio": 4.0}


def main() -> None:
    """Record every family."""
    outputs: dict[str, np.ndarray] = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            oracle = Oracle(write_open_clip(Path(folder), family), _SHRUNK)
            rows, image_layers = oracle.embed_images(images())
            tokens, features, text_layers = oracle.embed_texts(list(TEXTS))
        outputs |= {f"{family}/images": rows, f"{family}/tokens": tokens.astype(np.int32), f"{family}/texts": features}
        for kind, layers in (("image", image_layers), ("text", text_layers)):
            outputs |= {f"{family}/{kind}_layer_{number}": layer for number, layer in enumerate(layers)}
        print(family, rows.shape, features.shape, len(image_layers), len(text_layers))
    np.savez_compressed(RECORDED, **outputs)  # type: ignore[arg-type]
    print(f"{RECORDED}: {RECORDED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
