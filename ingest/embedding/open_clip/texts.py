"""Texts → tokens as open_clip makes them: cleaned first, then tokenized, cut and padded to the model's context.

open_clip 3.3, src/open_clip/tokenizer.py. The cleaning is ftfy's and HTML's, for all kinds of tokenizers.
"""

from __future__ import annotations

import html
import string
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import find_tokenizer, read_json
from ingest.embedding.device import import_torch
from ingest.embedding.hub import HubRepository
from ingest.embedding.tokenizer import GemmaTokens, is_gemmas
from ingest.embedding.tokenizer_check import HIGHEST, check_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.embedding.checkpoint_files import CheckpointSource
    from ingest.embedding.open_clip.architecture import Architecture, TextReading

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ENDS = ("<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>")  # OpenAI's names, and open_clip's
_PADDED = 0  # CLIP's texts, after their end


class OpenClipTokenizer:
    """Turns texts into a model's tokens.

    Raises ModelError if it cannot be loaded or belongs to another model: every search would return nonsense.
    """

    def __init__(self, source: CheckpointSource, architecture: Architecture) -> None:
        import_torch()
        self._reading = architecture.reading
        source = tokenizer_source(source, self._reading)
        try:
            self._encode, vocabulary = _load(source, self._reading, architecture.text.model_type)
        except ModelError:
            raise
        except Exception as error:  # damaged files raise nearly any error; a missing package, ImportError
            said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            fix = "pip install sentencepiece" if "sentencepiece" in said.lower() else source.fix
            raise ModelError(f"{source.name}: its tokenizer cannot be loaded ({said}); {fix}") from error
        text = architecture.text
        end = HIGHEST if text.model_type == "clip" else text.settings["eos_token_id"]
        check_tokenizer(source.name, self, vocabulary, self._reading.vocabulary, end)

    def __call__(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return `input_ids`, (n, tokens) int64, as the text tower takes them; texts that are too long are cut."""
        return {"input_ids": self._encode([clean(text, self._reading.clean) for text in texts])}


def tokenizer_source(source: CheckpointSource, reading: TextReading) -> CheckpointSource:
    """Return where the files of the tokenizer are: with the checkpoint, or in the repository that its config names.

    They are fetched if necessary. Raises ModelError if neither has them.
    """
    try:
        find_tokenizer(source)
    except ModelError as missing:
        other = HubRepository(reading.repository, None)
        try:
            find_tokenizer(other)
        except ModelError as error:
            raise ModelError(f"{missing}, or fetch it from {reading.repository} ({error})") from error
        return other
    return source


def clean(text: str, how: str) -> str:
    """Return a text as open_clip cleans it: `lower`, `whitespace` or `canonicalize`."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_PUNCTUATION).lower()
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text


def _load(
    source: CheckpointSource, reading: TextReading, model_type: str
) -> tuple[Callable[[list[str]], Any], dict[str, int]]:
    """Return the function from cleaned texts to (n, tokens) int64, and the vocabulary."""
    files = find_tokenizer(source)
    whole = _tokenizer_json(files, of_clip=reading.of_clip)
    if whole is None:
        return _by_transformers(files[0].parent, reading)
    vocabulary: dict[str, int] = whole.get_vocab()
    if reading.of_clip:
        return _ClipTokens(whole, reading.context, whole_context=model_type == "siglip"), vocabulary
    if is_gemmas(whole):
        gemma = GemmaTokens(whole, reading.context)
        return lambda texts: gemma(texts)["input_ids"], vocabulary
    padding = vocabulary[_special(source, "pad_token")]
    separator = vocabulary[_special(source, "sep_token")] if reading.strip_sep else None
    on_left = (read_json(source, "tokenizer_config.json") or {}).get("padding_side") == "left"
    return _PaddedTokens(whole, reading.context, padding, separator, on_left=on_left), vocabulary


def _tokenizer_json(files: Sequence[Path], *, of_clip: bool) -> Any:
    """Return the tokenizer of tokenizer.json, or CLIP's of its vocabulary and merges, or None if there is neither."""
    import tokenizers

    by_name = {path.name: path for path in files}
    if "tokenizer.json" in by_name:
        tokenizer = tokenizers.Tokenizer.from_file(str(by_name["tokenizer.json"]))
    elif of_clip and {"vocab.json", "merges.txt"} <= set(by_name):
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(files[0].parent, local_files_only=True).backend_tokenizer
    else:
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _special(source: CheckpointSource, kind: str) -> str:
    """Return a special token, such as the one that texts are padded with."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = (read_json(source, file) or {}).get(kind)
        if token := token.get("content") if isinstance(token, dict) else token:
            return str(token)
    raise ModelError(f"{source.name}: its tokenizer_config.json names no {kind}; copy it from where the model is from")


class _ClipTokens:
    """CLIP's tokens: a begin, the text, an end that is kept when the text is cut, and zeros.

    The tower does not look ahead, so that zeros need not fill the context, unless the whole context counts. A text that
    spells a special token is words, as in open_clip, which has other spellings for two of them.
    """

    def __init__(self, tokenizer: Any, context: int, *, whole_context: bool) -> None:
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._context = context
        self._whole = whole_context
        numbers = [tokenizer.token_to_id(token) for token in _ENDS]
        self._begin, self._end = numbers[:2] if numbers[0] is not None else numbers[2:]

    def __call__(self, texts: list[str]) -> Any:
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        rows = [[self._begin, *found.ids[: self._context - 2], self._end] for found in encoded]
        return _padded(rows, self._context if self._whole else max(map(len, rows)), _PADDED)


class _PaddedTokens:
    """A Hugging Face tokenizer's tokens, with the special ones that it adds, padded to the context."""

    def __init__(self, tokenizer: Any, context: int, padding: int, separator: int | None, *, on_left: bool) -> None:
        tokenizer.enable_truncation(context)
        self._tokenizer = tokenizer
        self._context = context
        self._padding = padding
        self._separator = separator
        self._on_left = on_left

    def __call__(self, texts: list[str]) -> Any:
        found = [one.ids for one in self._tokenizer.encode_batch(texts)]
        rows = _padded(found, self._context, self._padding, on_left=self._on_left)
        return rows if self._separator is None else rows.masked_fill(rows == self._separator, 0)


def _by_transformers(folder: Path, reading: TextReading) -> tuple[Callable[[list[str]], Any], dict[str, int]]:
    """Return what transformers makes of files without a tokenizer.json, such as a sentencepiece model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.padding_side = "right"
    options = {"padding": "max_length", "max_length": reading.context, "truncation": True, "return_tensors": "pt"}
    separator = tokenizer.sep_token_id if reading.strip_sep else None

    def encode(texts: list[str]) -> Any:
        rows = tokenizer(texts, **options)["input_ids"]
        return rows if separator is None else rows.masked_fill(rows == separator, 0)

    return encode, tokenizer.get_vocab()


def _padded(rows: list[list[int]], length: int, padding: int, *, on_left: bool = False) -> Any:
    torch = import_torch()
    whole = torch.full((len(rows), length), padding, dtype=torch.int64)
    for row, tokens in zip(whole, rows, strict=True):
        row[length - len(tokens) if on_left else 0 :][: len(tokens)] = torch.tensor(tokens)
    return whole
