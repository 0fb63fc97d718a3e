"""open_clip's `preprocess_cfg`, and what of it this tool does not do."""

from __future__ import annotations

import pytest
from support.open_clip_checkpoints import HALF, OPENAI

from ingest.core.errors import ModelError
from ingest.embedding.open_clip.pixels import preprocessing


def test_the_steps_are_those_of_the_config_and_the_size_is_the_towers():
    steps = preprocessing({**HALF, "size": 512, "interpolation": "bilinear", "resize_mode": "squash"}, 224, "it")
    assert (steps.height, steps.width, steps.keep_aspect, steps.resample) == (224, 224, False, 2)
    assert (steps.mean, steps.std, steps.rounded_crop) == ((0.5,) * 3, (0.5,) * 3, False)


def test_an_empty_config_has_open_clips_defaults():
    steps = preprocessing({"mean": None}, 224, "it")
    assert (steps.short_side, steps.keep_aspect, steps.resample, steps.rounded_crop) == (224, True, 3, True)
    assert (list(steps.mean), list(steps.std)) == (OPENAI["mean"], OPENAI["std"])


def test_one_number_stands_for_all_channels():
    assert preprocessing({"mean": 0.5, "std": 0.25}, 224, "it").std == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    "config",
    [
        {"resize_mode": "longest"}, {"interpolation": "lanczos"}, {"mode": "L"}, {"mean": [1, 2]}, {"mean": "grey"},
        {"std": 0}, {"std": [1, "x", 1]}, {"std": float("nan")},
    ],
)  # fmt: skip
def test_other_steps_are_refused_in_one_line(config):
    with pytest.raises(ModelError, match=r"^it: its prepro") as caught:
        preprocessing(config, 224, "it")
    assert len(str(caught.value).splitlines()) == 1
