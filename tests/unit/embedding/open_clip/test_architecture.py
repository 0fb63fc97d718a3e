"""Settings of open_clip: what they become, and that none that would change a vector is passed over."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.open_clip_checkpoints import FAMILIES

from ingest.core.errors import ModelError
from ingest.embedding.open_clip.architecture import parse


def changed(family: str, part: str, **changes: Any) -> dict[str, Any]:
    """Return a family's model_cfg with settings changed, of the whole or of one of its parts."""
    model = copy.deepcopy(FAMILIES[family]["model_cfg"])
    (model[part] if part else model).update(changes)
    return model


@pytest.mark.parametrize(
    ("family", "image", "text", "words"),
    [
        ("vit", "clip", "clip", "open_clip ViT, texts by CLIP's tokenizer"),
        ("vit-quickgelu", "clip", "clip", "open_clip ViT with QuickGELU, texts by CLIP's tokenizer"),
        ("siglip", "siglip", "siglip", "open_clip SigLIP, texts by the tokenizer acme/a-tokenizer"),
        ("siglip2", "siglip", "siglip", "open_clip SigLIP, texts by the tokenizer acme/a-tokenizer"),
        ("worldwide", "clip", "metaclip_2", "open_clip ViT with QuickGELU, texts by the tokenizer acme/a-tokenizer"),
    ],
)
def test_a_family_is_named_and_has_its_towers(family, image, text, words):
    found = parse(FAMILIES[family]["model_cfg"], "it")
    assert (found.image.model_type, found.text.model_type, found.family) == (image, text, words)


@pytest.mark.parametrize(
    ("name", "activation", "heads"),
    [
        ("vit_base_patch16_siglip_224", "gelu", 12),
        ("vit_base_patch32_siglip_256", "gelu_pytorch_tanh", 12),
        ("vit_large_patch16_siglip_256", "gelu", 16),
        ("vit_large_patch16_siglip_512", "gelu_pytorch_tanh", 16),
        ("vit_so400m_patch14_siglip_384", "gelu", 16),
        ("vit_so400m_patch16_siglip_256", "gelu_pytorch_tanh", 16),
        ("vit_giantopt_patch16_siglip_256", "gelu_pytorch_tanh", 16),
        ("vit_base_patch16_siglip_224.webli", "gelu", 12),
    ],
)
def test_a_name_of_timms_says_heads_and_activation(name, activation, heads):
    settings = parse(changed("siglip", "vision_cfg", timm_model_name=name), "it").image.settings
    assert (settings["hidden_act"], settings["num_attention_heads"]) == (activation, heads)


def test_sizes_have_open_clips_defaults():
    found = parse({"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}, "it")
    assert {key: found.image.settings[key] for key in ("hidden_size", "patch_size", "intermediate_size")} == {
        "hidden_size": 768,
        "patch_size": 16,
        "intermediate_size": 3072,
    }
    assert (found.side, found.reading.context, found.reading.vocabulary) == (224, 77, 49408)
    assert found.reading.clean == "lower"


@pytest.mark.parametrize(
    ("family", "part", "changes", "words"),
    [
        ("vit", "", {"multimodal_cfg": {"width": 8}}, "is a CoCa, which also writes texts"),
        ("vit", "", {"from_the_future": 1}, "has model_cfg.from_the_future 1"),
        ("vit", "vision_cfg", {"layers": [3, 4, 6, 3]}, "has a ResNet as its image tower"),
        ("vit", "vision_cfg", {"pool_type": "avg"}, "pools images by vision_cfg.pool_type avg"),
        ("vit", "vision_cfg", {"ls_init_value": 1e-4}, "has vision_cfg.ls_init_value 0.0001"),
        ("vit", "vision_cfg", {"attentional_pool": True}, "has vision_cfg.attentional_pool True"),
        ("vit", "vision_cfg", {"no_ln_pre": True}, "has vision_cfg.no_ln_pre True"),
        ("vit", "vision_cfg", {"qk_norm": True}, "has vision_cfg.qk_norm True"),
        ("vit", "vision_cfg", {"pos_embed_type": "sin_cos_2d"}, "has vision_cfg.pos_embed_type sin_cos_2d"),
        ("vit", "vision_cfg", {"image_size": [224, 336]}, "takes images that are not square"),
        ("vit", "vision_cfg", {"act_kwargs": {"negative_slope": 1}}, "has vision_cfg.act_kwargs"),
        ("vit-quickgelu", "text_cfg", {"act_kwargs": {"approximate": "tanh"}}, "has text_cfg.act_kwargs"),
        ("vit", "vision_cfg", {"norm_kwargs": {"bias": False}}, "has norm_kwargs"),
        ("siglip", "vision_cfg", {"timm_model_name": "fastvit_mci1"}, "has timm's fastvit_mci1 as its image tower"),
        ("siglip", "vision_cfg", {"timm_model_name": "eva02\x1b[2J"}, "has timm's eva02?[2J as its image tower"),
        ("siglip", "vision_cfg", {"timm_pool": "avg"}, "with timm_pool avg and timm_proj none as its image tower"),
        ("siglip", "vision_cfg", {"timm_proj": "linear"}, "with timm_pool map and timm_proj linear"),
        ("vit", "text_cfg", {"hf_model_name": "xlm-r"}, "has transformers' xlm-r as its text tower"),
        ("vit", "text_cfg", {"no_causal_mask": True}, "has a text tower that looks ahead and pools by argmax"),
        ("vit", "text_cfg", {"pool_type": "last"}, "pools texts by last"),
        ("vit", "text_cfg", {"proj_bias": True}, "pools texts by argmax, and projects them with a bias"),
        ("vit", "text_cfg", {"proj_type": "none"}, "has text_cfg.proj_type none"),
        ("vit", "text_cfg", {"embed_cls": True}, "has text_cfg.embed_cls True"),
        ("vit", "text_cfg", {"tokenizer_mode": "clips"}, "has text_cfg.tokenizer_mode clips"),
        ("vit", "text_cfg", {"tokenizer_kwargs": {"reduction_mask": "random"}}, "prepares texts in another way"),
        ("siglip", "text_cfg", {"tokenizer_kwargs": {"clean": "shout"}}, "prepares texts in another way (clean: shout"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(family, part, changes, words):
    with pytest.raises(ModelError) as caught:
        parse(changed(family, part, **changes), "acme/model")
    message = str(caught.value)
    assert message.startswith("acme/model: ")
    assert words in message
    assert message.endswith(
        ", which is not supported; choose an open_clip checkpoint of the ViT or SigLIP kind, see ingest models"
    )
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("", {"init_logit_scale": 4.6, "init_logit_bias": -10, "nonscalar_logit_scale": True, "custom_text": True}),
        ("vision_cfg", {"patch_dropout": 0.5, "attentional_pool": False, "ls_init_value": None, "timm_drop": 0.1}),
        ("text_cfg", {"hf_proj_type": "mlp", "embed_cls": False, "hf_model_name": None, "tokenizer_kwargs": None}),
    ],
)
def test_what_does_not_change_a_vector_is_passed_over(part, changes):
    before, after = parse(FAMILIES["vit"]["model_cfg"], "it"), parse(changed("vit", part, **changes), "it")
    assert before == after


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"embed_dim": 512, "vision_cfg": None, "text_cfg": {}},
        {"embed_dim": "wide", "vision_cfg": {}, "text_cfg": {}},
        {"embed_dim": 512, "vision_cfg": {"head_width": 0}, "text_cfg": {}},
        {"embed_dim": 512, "vision_cfg": {"image_size": 0}, "text_cfg": {}},
        {"embed_dim": 512, "vision_cfg": {"width": [1]}, "text_cfg": {}},
        {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {"tokenizer_kwargs": 7}},
    ],
)
def test_settings_that_cannot_be_read_are_one_line(model):
    with pytest.raises(
        ModelError, match=r"its open_clip_config\.json (lacks|has a value that cannot be read)"
    ) as caught:
        parse(model, "it")
    assert len(str(caught.value).splitlines()) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3000) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "image_size", "layers", "width", "head_width", "mlp_ratio",
        "timm_model_name", "act_kwargs", "norm_kwargs", "context_length", "vocab_size", "tokenizer_kwargs"]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(family=st.sampled_from(sorted(FAMILIES)), part=st.sampled_from(["", "vision_cfg", "text_cfg"]),
       key=st.sampled_from(KEYS), value=VALUES)  # fmt: skip
def test_any_settings_are_parsed_or_refused_in_one_line(family, part, key, value):
    said = ""
    try:
        parse(changed(family, part, **{key: value}), "it")
    except ModelError as error:
        said = str(error)
    assert said.isprintable()
