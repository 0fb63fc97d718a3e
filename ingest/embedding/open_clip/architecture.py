"""open_clip_config.json → the towers that it describes as transformers' own classes, or why there are none.

What open_clip's settings mean is read from open_clip 3.3 (src/open_clip/model.py, transformer.py and timm_model.py).
A setting that would change the computation and is not known here ends with an error: no vector is nearly right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import display

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CLIP_EPS, _TIMM_EPS = 1e-5, 1e-6  # of the layer norms: torch's default, and timm's for ViTs
_HIGHEST = 2  # transformers' old mark of the end, for which CLIP takes the highest token (its PR 24773), as argmax does
# timm's SigLIP towers: the heads by size, and which compute GELU by tanh (timm 1.0, models/vision_transformer.py).
_TIMM = re.compile(r"vit_(base|large|so400m|giantopt)_patch(\d+)_siglip_(\d+)(\.\w+)?")
_TIMM_HEADS = {"base": 12, "large": 16, "so400m": 16, "giantopt": 16}
_TIMM_TANH = re.compile(r"vit_(base_patch32|large_patch16_siglip_512|so400m_patch16|giantopt).*")
# Settings that do not change the vectors: of training, of parts that are switched off, of softmax and sigmoid.
_IDLE = {
    "model_cfg": {"custom_text", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "quick_gelu"},
    "vision_cfg": {"patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained", "timm_drop",
                   "timm_drop_path", "timm_proj_bias", "timm_pool", "timm_proj"},
    "text_cfg": {"hf_model_pretrained", "hf_proj_type", "hf_pooler_type", "pad_id"},
}  # fmt: skip
# Settings with which the towers compute something else: these values are the ones that switch them off.
_OFF = (None, False, "default", "learnable")


@dataclass(frozen=True, slots=True)
class Tower:
    """A tower: transformers' `model_type` for it, and that configuration's settings, without what the weights say."""

    model_type: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextReading:
    """How a text becomes tokens: cleaned (`lower`, `whitespace` or `canonicalize`), cut and padded to `context`.

    `repository` is the hub repository whose tokenizer it is if the checkpoint has no files of one; `of_clip` says that
    it is CLIP's own, whose texts begin and end with a token and are padded with 0. With `strip_sep` separators are 0.
    """

    repository: str
    of_clip: bool
    clean: str
    context: int
    vocabulary: int
    strip_sep: bool


@dataclass(frozen=True, slots=True)
class Architecture:
    """What an open_clip checkpoint computes; `side` is its input's height and width in pixels."""

    family: str
    dim: int
    side: int
    image: Tower
    text: Tower
    reading: TextReading


def parse(model: Mapping[str, Any], name: str) -> Architecture:
    """Return what a `model_cfg` describes; `name` is the checkpoint's, for messages.

    Raises ModelError, naming the setting, for towers that transformers' CLIP, SigLIP and MetaCLIP 2 do not compute.
    """
    try:
        return _parse(model, name)
    except KeyError as error:
        raise ModelError(
            f"{name}: its open_clip_config.json lacks {display(error.args[0])}; copy it from where the model is from"
        ) from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"{name}: its open_clip_config.json has a value that cannot be read ({display(repr(error))}); copy it from "
            "where the model is from"
        ) from error


def _parse(model: Mapping[str, Any], name: str) -> Architecture:
    vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    if model.get("multimodal_cfg"):
        raise _refusal(name, "is a CoCa, which also writes texts")
    _check_unknown(model, {"embed_dim", "vision_cfg", "text_cfg"}, "model_cfg", name)
    dim, quick = int(model["embed_dim"]), bool(model.get("quick_gelu"))
    side = _side(vision.get("image_size", 224), name)
    image = _timm(vision, dim, side, name) if vision.get("timm_model_name") else _vit(vision, dim, side, quick, name)
    words = _text(text, dim, quick, name)
    kind = "SigLIP" if image.model_type == "siglip" else "ViT with QuickGELU" if quick else "ViT"
    reading = _reading(text, name)
    tongue = "CLIP's tokenizer" if reading.of_clip else f"the tokenizer {display(reading.repository)}"
    return Architecture(f"open_clip {kind}, texts by {tongue}", dim, side, image, words, reading)


def _vit(vision: dict[str, Any], dim: int, side: int, quick: bool, name: str) -> Tower:
    """Return OpenAI's vision transformer: a class token, a norm before and after, a projection."""
    layers = vision.get("layers", 12)
    if not isinstance(layers, int):
        raise _refusal(name, "has a ResNet as its image tower")
    if (pool := vision.get("pool_type", "tok")) != "tok":
        raise _refusal(name, f"pools images by vision_cfg.pool_type {display(pool)}")
    read = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "pool_type"}
    _check_unknown(vision, read | {"act_kwargs", "norm_kwargs"}, "vision_cfg", name)
    width = int(vision.get("width", 768))
    settings = {
        "hidden_size": width,
        "intermediate_size": int(width * float(vision.get("mlp_ratio", 4.0))),
        "num_hidden_layers": layers,
        "num_attention_heads": width // int(vision.get("head_width", 64)),
        "image_size": side,
        "patch_size": _side(vision.get("patch_size", 16), name),
        "projection_dim": dim,
        "hidden_act": _activation(vision, "vision_cfg", name, quick=quick),
        "layer_norm_eps": _eps(vision, name),
    }
    return Tower("clip", settings)


def _timm(vision: dict[str, Any], dim: int, side: int, name: str) -> Tower:
    """Return SigLIP's vision transformer by its name in timm: no class token, pooled by attention.

    How deep it is, the weights say.
    """
    asked = str(vision["timm_model_name"])
    found = _TIMM.fullmatch(asked)
    pooled, projected = vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
    if found is None or (pooled, projected) != ("map", "none"):
        how = "" if found is None else f" with timm_pool {display(pooled)} and timm_proj {display(projected)}"
        raise _refusal(name, f"has timm's {display(asked)}{how} as its image tower")
    _check_unknown(vision, {"timm_model_name", "image_size"}, "vision_cfg", name)
    settings = {
        "num_attention_heads": _TIMM_HEADS[found[1]],
        "image_size": side,
        "patch_size": int(found[2]),
        "hidden_size": dim,
        "hidden_act": "gelu_pytorch_tanh" if _TIMM_TANH.fullmatch(asked) else "gelu",
        "layer_norm_eps": _TIMM_EPS,
    }
    return Tower("siglip", settings)


def _text(text: dict[str, Any], dim: int, quick: bool, name: str) -> Tower:
    """Return the text tower: CLIP's, MetaCLIP 2's, which finds the end by its token, or SigLIP's, which looks ahead."""
    if text.get("hf_model_name"):
        raise _refusal(name, f"has transformers' {display(text['hf_model_name'])} as its text tower")
    read = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "act_kwargs", "norm_kwargs"}
    more = {"hf_tokenizer_name", "tokenizer_kwargs", "no_causal_mask", "pool_type", "proj_bias", "proj_type", "eos_id"}
    _check_unknown(text, read | more, "text_cfg", name)
    width, pool = int(text.get("width", 512)), text.get("pool_type", "argmax")
    if text.get("proj_type", "linear") != "linear":
        raise _refusal(name, f"has text_cfg.proj_type {display(text['proj_type'])}")
    settings = {
        "hidden_size": width,
        "intermediate_size": int(width * float(text.get("mlp_ratio", 4.0))),
        "num_hidden_layers": int(text.get("layers", 12)),
        "num_attention_heads": int(text.get("heads", 8)),
        "vocab_size": int(text.get("vocab_size", 49408)),
        "max_position_embeddings": int(text.get("context_length", 77)),
        "hidden_act": _activation(text, "text_cfg", name, quick=quick),
        "layer_norm_eps": _eps(text, name),
        "bos_token_id": None,
        "pad_token_id": None,
    }
    if text.get("no_causal_mask"):
        if pool != "last":
            raise _refusal(name, f"has a text tower that looks ahead and pools by {display(pool)}")
        return Tower("siglip", settings | {"eos_token_id": None, "projection_size": dim})
    if pool not in ("argmax", "eos") or text.get("proj_bias"):
        bias = ", and projects them with a bias" if text.get("proj_bias") else ""
        raise _refusal(name, f"pools texts by {display(pool)}{bias}")
    ends = _HIGHEST if pool == "argmax" else int(text.get("eos_id", 2))
    kind = "clip" if pool == "argmax" else "metaclip_2"
    return Tower(kind, settings | {"eos_token_id": ends, "projection_dim": dim})


def _reading(text: dict[str, Any], name: str) -> TextReading:
    options = dict(text.get("tokenizer_kwargs") or {})
    repository = str(text.get("hf_tokenizer_name") or "")
    clean = options.pop("clean", "whitespace" if repository else "lower")
    strip_sep = bool(options.pop("strip_sep_token", False))
    if clean not in ("lower", "whitespace", "canonicalize") or any(map(bool, options.values())):
        asked = ", ".join(f"{display(key)}: {display(value)}" for key, value in {"clean": clean, **options}.items())
        raise _refusal(name, f"prepares texts in another way ({asked})")
    return TextReading(
        repository=repository or "openai/clip-vit-base-patch32",
        of_clip=not repository,
        clean=clean,
        context=int(text.get("context_length", 77)),
        vocabulary=int(text.get("vocab_size", 49408)),
        strip_sep=strip_sep,
    )


def _side(size: Any, name: str) -> int:
    """Return a side in pixels; open_clip writes squares as a number or as two."""
    sides = {int(side) for side in (size if isinstance(size, list) else [size])}
    if len(sides) != 1:
        raise _refusal(name, f"takes images that are not square ({display(size)})")
    side = sides.pop()
    if side < 1:
        raise ValueError(side)
    return side


def _activation(config: Mapping[str, Any], part: str, name: str, *, quick: bool) -> str:
    options = config.get("act_kwargs") or {}
    if options and (quick or set(options) != {"approximate"} or options["approximate"] not in ("none", "tanh")):
        raise _refusal(name, f"has {part}.act_kwargs {display(options)}")
    return "quick_gelu" if quick else "gelu_pytorch_tanh" if options.get("approximate") == "tanh" else "gelu"


def _eps(config: Mapping[str, Any], name: str) -> float:
    options = config.get("norm_kwargs") or {}
    if set(options) - {"eps"}:
        raise _refusal(name, f"has norm_kwargs {display(options)}")
    return float(options.get("eps", _CLIP_EPS))


def _check_unknown(config: Mapping[str, Any], read: Iterable[str], part: str, name: str) -> None:
    """Raise ModelError for a setting that would change the vectors and that nothing here knows."""
    for key, value in config.items():
        if key not in read and key not in _IDLE[part] and not any(value is off or value == off for off in _OFF):
            raise _refusal(name, f"has {part}.{display(key)} {display(value)}")


def _refusal(name: str, what: str) -> ModelError:
    return ModelError(
        f"{name}: {what}, which is not supported; choose an open_clip checkpoint of the ViT or SigLIP kind, see ingest "
        "models"
    )
