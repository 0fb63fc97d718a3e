"""Vectors compared with transformers' own model and processor; devices; folders that cannot be loaded."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from skimage import data
from support.checkpoints import DIM, SAMPLE
from support.late import torch, transformers
from support.reading import decode_one

from ingest.core.errors import ModelError
from ingest.core.records import ImageFile, Product
from ingest.embedding import device as devices
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.device import check_device, pick_device, pick_devices, pick_dtype
from ingest.embedding.encoder import normalize
from ingest.embedding.towers import Towers
from ingest.images.decode.decoder import open_rgb

if TYPE_CHECKING:
    from collections.abc import Callable


IMAGES = sorted((Path(__file__).resolve().parents[3] / "data" / "images").iterdir())[::40]
BATCH = 4


def loaded(folder: Path, dtype: str = "float32", batch: int = BATCH) -> ClipEncoder:
    return ClipEncoder(resolve(str(folder)), "cpu", dtype, batch)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Return photographs and images of the sample catalog, opened as a run opens them."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    return [Image.fromarray(getattr(data, name)()) for name in names] + [open_rgb(path) for path in IMAGES]


def ours(encoder: ClipEncoder, folder: Path, images: list[Image.Image]) -> np.ndarray:
    steps = resolve(str(folder)).preprocessing
    pixels = np.stack([steps(image) for image in images])
    return normalize(np.concatenate([encoder.images(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)]))


def theirs(folder: Path, processor: object, images: list[Image.Image]) -> np.ndarray:
    """Embed one by one, in float32, with the settings in the checkpoint's own files."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        rows = [
            model.get_image_features(**processor(image, return_tensors="pt")).pooler_output.numpy() for image in images
        ]
    return normalize(np.concatenate(rows))


@pytest.fixture(scope="module")
def clips_own(tiny_clip: Path, photographs: list[Image.Image]) -> np.ndarray:
    return theirs(tiny_clip, transformers.CLIPImageProcessorPil.from_pretrained(tiny_clip), photographs)


@pytest.fixture(scope="module")
def siglips_own(tiny_siglip: Path, photographs: list[Image.Image]) -> np.ndarray:
    return theirs(tiny_siglip, transformers.SiglipImageProcessorPil.from_pretrained(tiny_siglip), photographs)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_a_clips_vectors_are_those_of_transformers(tiny_clip, clips_own, photographs, dtype, least):
    assert (clips_own @ clips_own.T).min() < 0.99, "the images must differ for this to show anything"
    cosines = (ours(loaded(tiny_clip, dtype), tiny_clip, photographs) * clips_own).sum(axis=1)
    assert cosines.min() >= least


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_a_siglips_vectors_are_those_of_transformers(tiny_siglip, siglips_own, photographs, dtype, least):
    cosines = (ours(loaded(tiny_siglip, dtype), tiny_siglip, photographs) * siglips_own).sum(axis=1)
    assert cosines.min() >= least


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_has_the_same_bits_whatever_else_is_in_the_batch(tiny_clip, dtype):
    encoder = loaded(tiny_clip, dtype, batch=8)
    pixels = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    for at in (0, 3, 7):
        batch = encoder.images(pixels[:8])
        np.testing.assert_array_equal(encoder.images(pixels[: at + 1])[at], batch[at])
        others = np.concatenate([pixels[8 : 8 + at], pixels[at : at + 1], pixels[9 + at :]])
        np.testing.assert_array_equal(encoder.images(others)[at], batch[at])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_images_position_in_the_batch_changes_the_last_digits_at_most(tiny_clip, dtype):
    encoder = loaded(tiny_clip, dtype, batch=8)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    alone = normalize(np.concatenate([encoder.images(pixels[at : at + 1]) for at in range(8)]))
    together = normalize(encoder.images(pixels))
    assert np.abs((alone * together).sum(axis=1) - 1).max() <= (1e-6 if dtype == "float32" else 1e-4)


def test_only_real_images_have_rows_not_the_padding_of_a_batch(tiny_clip):
    rows = loaded(tiny_clip).images(np.zeros((3, 32, 32, 3), np.uint8))
    assert (rows.shape, rows.dtype) == ((3, 16), np.float32)


@pytest.mark.parametrize("model", ["tiny_clip", "tiny_siglip"])
def test_texts_are_embedded_as_transformers_does(model, request):
    folder = request.getfixturevalue(model)
    texts = ["red striped mug", "a chair", "zürich 漢字 ☕"]
    rows = loaded(folder).texts(texts)
    padding = "max_length" if model == "tiny_siglip" else "longest"
    tokenizer, model = (getattr(transformers, kind).from_pretrained(folder) for kind in ("AutoTokenizer", "AutoModel"))
    tokens = tokenizer(texts, padding=padding, max_length=24, return_tensors="pt")
    with torch.inference_mode():
        expected = model.eval().get_text_features(**tokens).pooler_output.numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("model", ["tiny_clip", "tiny_siglip"])
def test_a_text_longer_than_the_models_context_is_cut(model, request):
    encoder = loaded(request.getfixturevalue(model))
    rows = encoder.texts(["red striped mug " * 200, "red striped mug " * 300])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_nothing_is_loaded_before_something_is_embedded(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    encoder = loaded(folder)
    (folder / "model.safetensors").unlink()
    assert encoder.space.dim == 16


def broken(folder: Path, name: str, content: bytes | None) -> None:
    (folder / "model.safetensors").unlink()
    if content is not None:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder, _: (folder / "model.safetensors").write_bytes(b""),
        lambda folder, _: (folder / "model.safetensors").write_bytes(b"not weights" * 100),
        lambda folder, _: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        lambda folder, _: broken(folder, "pytorch_model.bin", b"not a pickle"),
        lambda folder, other: shutil.copy(other / "model.safetensors", folder / "model.safetensors"),
        lambda folder, _: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"model_type": "clip",', '"model_type": "no such",')
        ),
    ],
    ids=["empty", "garbage", "cut off", "no pickle", "another model's", "unknown type"],
)
def test_a_folder_that_cannot_be_loaded_is_one_line(tiny_clip, tiny_siglip, tmp_path, damage):
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    damage(folder, tiny_siglip)
    with pytest.raises(ModelError) as caught:
        loaded(folder).images(np.zeros((1, 32, 32, 3), np.uint8))
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert len(message.splitlines()) == 1
    assert len(message) - len(str(folder)) < 300


def test_incomplete_weights_are_refused_rather_than_made_up(tiny_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack visual_projection\.weight and 0 more"):
        loaded(folder).images(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_model_whose_vectors_have_another_dim_than_its_configuration_is_refused(tiny_siglip, tmp_path):
    folder = shutil.copytree(tiny_siglip, tmp_path / "model")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"projection_dim": 99,', 1))
    with pytest.raises(ModelError, match=r"gives vectors of 32 numbers, but its config\.json says 99"):
        loaded(folder).images(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(("vision", "text"), [(DIM, 24), (24, DIM), (None, None)])
def test_a_clip_whose_towers_name_other_dims_is_loaded_as_transformers_loads_it(tiny_clip, tmp_path, vision, text):
    """CLIPModel projects both towers to the model's own projection_dim."""
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for tower, width in (("vision_config", vision), ("text_config", text)):
        if width is None:
            del config[tower]["projection_dim"]
        else:
            config[tower]["projection_dim"] = width
    (folder / "config.json").write_text(json.dumps(config))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    encoder, expected = loaded(folder), loaded(tiny_clip)
    np.testing.assert_array_equal(encoder.images(pixels), expected.images(pixels))
    np.testing.assert_array_equal(encoder.texts(["mug"]), expected.texts(["mug"]))
    assert transformers.AutoModel.from_pretrained(folder).projection_dim == DIM


def test_a_damaged_tokenizer_is_one_line_and_images_do_not_need_it(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")
    encoder = loaded(folder)
    assert encoder.images(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 16)
    with pytest.raises(ModelError, match="its tokenizer cannot be loaded") as caught:
        encoder.texts(["mug"])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cuda:99", "mps:7"])
def test_a_missing_device_is_one_line(device):
    with pytest.raises(ModelError, match="sees no such device; see ingest doctor") as caught:
        pick_device(device)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cuda:", "mps:7", "cpu:0", "cuda:0,gpu", "cuda,,cuda:1"])
def test_a_device_that_no_machine_has_is_reported_without_torch(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="no such device; give auto, cpu, mps, cuda"):
        check_device(device)
    check_device("auto")
    check_device("cuda:0, cuda:9")


def test_without_a_gpu_the_best_device_is_the_cpu():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto") == expected
    assert pick_device("cpu") == "cpu"


def test_bfloat16_is_used_if_the_processor_computes_in_it(monkeypatch):
    for there, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "_cpu_has_bfloat16", lambda there=there: there)
        assert pick_dtype("auto", "cpu") == dtype
    assert pick_dtype("auto", "mps") == "float32"
    assert pick_dtype("float16", "cpu") == "float16"


def test_several_devices_must_be_of_one_kind():
    assert pick_devices("cpu, cpu") == ["cpu", "cpu"]
    with pytest.raises(ModelError, match="sees no such device"):
        pick_devices("cuda:98,cuda:99")
    with pytest.raises(ModelError, match="devices of several kinds"):
        pick_devices("cpu,cuda:99")


def test_quick_gelu_is_computed_in_one_pass_and_another_activation_is_left_alone(tiny_clip, tiny_siglip):
    clips = Towers(resolve(str(tiny_clip)), "float32").images("cpu")
    siglips = Towers(resolve(str(tiny_siglip)), "float32").images("cpu")
    assert _activations(clips) == {"SiLU"}
    assert _activations(siglips) == {"GELUTanh"}


def _activations(tower: Callable[..., object]) -> set[str]:
    modules = inspect.getclosurevars(tower).nonlocals["tower"].modules()
    return {type(part.activation_fn).__name__ for part in modules if hasattr(part, "activation_fn")}


def test_texts_need_no_vision_tower_and_images_no_text_tower(tiny_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for part, other in (("vision", "text"), ("text", "vision")):
        words = ("text_model.", "text_projection.") if other == "text" else ("vision_model.", "visual_projection.")
        kept = {name: values for name, values in weights.items() if not name.startswith(words)}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        encoder = loaded(folder)
        if part == "vision":
            pixels = np.zeros((1, 32, 32, 3), np.uint8)
            np.testing.assert_array_equal(encoder.images(pixels), loaded(tiny_clip).images(pixels))
        else:
            np.testing.assert_allclose(encoder.texts(["mug"]), loaded(tiny_clip).texts(["mug"]), rtol=1e-5)


def test_an_image_decoded_at_reduced_size_has_nearly_the_same_vector(tmp_path):
    steps = resolve(str(SAMPLE)).preprocessing
    encoder = loaded(SAMPLE, batch=8)
    cosines = []
    for name in (
        "astronaut",
        "coffee",
        "chelsea",
        "rocket",
        "retina",
        "hubble_deep_field",
        "coins",
        "immunohistochemistry",
    ):
        photograph = Image.fromarray(getattr(data, name)()).convert("RGB")
        for side in (512, 801, 1403):
            scale = side / min(photograph.size)
            content = io.BytesIO()
            photograph.resize([round(length * scale) for length in photograph.size]).save(content, "JPEG", quality=90)
            path = tmp_path / f"{name}.jpg"
            path.write_bytes(content.getvalue())
            image = ImageFile(Product("p", "", {}, 1), path, hashlib.sha256(content.getvalue()).digest())
            both = np.stack([decode_one(image, steps, draft_side=least).pixels for least in (0, steps.least)])
            assert (both[0] != both[1]).any(), "decoded whole, it shows nothing"
            exact, fast = normalize(encoder.images(both))
            cosines.append(float(exact @ fast))
    assert min(cosines) >= 0.9995
    assert np.mean(cosines) >= 0.9999
