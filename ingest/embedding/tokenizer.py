"""Texts → tokens, by a tokenizer that is checked to belong to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.device import import_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.embedding.checkpoint_files import CheckpointSource

_GEMMA = {"<pad>": 0, "<eos>": 1, "<bos>": 2}  # the ids of Gemma's vocabulary, SigLIP 2's (arXiv:2502.14786, 2.1)
_LEGACY_EOS = 2  # in configurations before transformers PR 24773: the end is the highest token of a text
_LARGEST, _SMALLEST = 1.01, 0.9  # times the model's vocabulary: spare tokens, or a vocabulary rounded up for speed
_WORDS = 64  # words that are tried


class Tokenizer:
    """Turns texts into a model's tokens.

    Raises ModelError if it cannot be loaded or belongs to another model: every search would return nonsense.
    """

    def __init__(self, source: CheckpointSource, files: Sequence[Path], config: Any) -> None:
        import_torch()
        self._source = source
        self._text = config.text_config
        self._siglip = "siglip" in config.model_type
        try:
            self._encode, vocabulary = self._load(files)
        except Exception as error:  # damaged files raise nearly any error; a missing package, ImportError
            said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            fix = "pip install sentencepiece" if "sentencepiece" in said.lower() else source.fix
            raise ModelError(f"{source.name}: its tokenizer cannot be loaded ({said}); {fix}") from error
        self._check(vocabulary, config.model_type)

    def __call__(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return tensors of (n, tokens) by name, as the text tower takes them; texts that are too long are cut."""
        return self._encode(list(texts))

    def _load(self, files: Sequence[Path]) -> tuple[Callable[[list[str]], dict[str, Any]], dict[str, int]]:
        from transformers import AutoTokenizer

        whole = next((path for path in files if path.name == "tokenizer.json"), None)
        if self._siglip and whole is not None:
            import tokenizers

            gemma = tokenizers.Tokenizer.from_file(str(whole))
            if all(gemma.token_to_id(token) == number for token, number in _GEMMA.items()):
                return _SigLip2(gemma, self._longest), gemma.get_vocab()
        tokenizer = AutoTokenizer.from_pretrained(files[0].parent, local_files_only=True, trust_remote_code=False)
        tokenizer.padding_side = "right"  # so that a padded text keeps the positions it has alone
        # SigLIP was trained on texts padded to its whole context, CLIP on any length (their model cards).
        padding = {"padding": "max_length" if self._siglip else True, "max_length": self._longest}
        return (
            lambda texts: dict(tokenizer(texts, return_tensors="pt", truncation=True, **padding)),
            tokenizer.get_vocab(),
        )

    @property
    def _longest(self) -> int:
        return int(self._text.max_position_embeddings)

    def _check(self, vocabulary: dict[str, int], kind: str) -> None:
        """Tokenize words of the vocabulary; raises ModelError if the tokens cannot be this model's."""
        size = int(self._text.vocab_size)
        if not size * _SMALLEST <= len(vocabulary) <= size * _LARGEST:
            raise self._misfit(f"has {len(vocabulary):,} tokens and its model's vocabulary {size:,}")
        words = _words(vocabulary)
        if not words:
            raise self._misfit("knows no words")
        rows = self._encode(words)["input_ids"].tolist()
        if len({tuple(row) for row in rows}) <= len(rows) // 2:
            raise self._misfit("gives the same tokens for different words")
        if (most := max(map(max, rows))) >= size:
            raise self._misfit(f"gives token {most:,} and its model's vocabulary has {size:,}")
        if kind == "clip" and not _have_end(rows, self._text.eos_token_id):
            raise self._misfit(f"does not end texts as its config.json says (eos_token_id {self._text.eos_token_id})")

    def _misfit(self, what: str) -> ModelError:
        return ModelError(
            f"{self._source.name}: its tokenizer {what}; copy tokenizer.json and tokenizer_config.json from where the "
            "model is from"
        )


class _SigLip2:
    """SigLIP 2's tokens, whichever class the folder names: lower case, no <bos>, <eos> always kept, padded with <pad>.

    As its authors do it (google-research/big_vision, SigLIP2_demo.ipynb: lower, gemma, bos="no", eos="sticky"; the
    text tower sees the padding, there is no mask). transformers' Siglip2Tokenizer lowers the case too (PR 43101).
    """

    def __init__(self, gemma: Any, longest: int) -> None:
        from tokenizers.normalizers import Lowercase

        gemma.no_padding()
        gemma.no_truncation()
        self._gemma = gemma
        self._lowercase = Lowercase()
        self._longest = longest

    def __call__(self, texts: list[str]) -> dict[str, Any]:
        torch = import_torch()
        rows = torch.full((len(texts), self._longest), _GEMMA["<pad>"], dtype=torch.int64)
        lowered = [self._lowercase.normalize_str(text) for text in texts]
        for row, found in zip(rows, self._gemma.encode_batch(lowered, add_special_tokens=False), strict=True):
            tokens = [*found.ids[: self._longest - 1], _GEMMA["<eos>"]]
            row[: len(tokens)] = torch.tensor(tokens)
        return {"input_ids": rows}


def _have_end(rows: list[list[int]], end: int) -> bool:
    """Return whether CLIP can find the end of each text: it takes the text's features from there."""
    if end == _LEGACY_EOS:
        return len({max(row) for row in rows}) == 1
    return all(end in row for row in rows)


def _words(vocabulary: dict[str, int]) -> list[str]:
    """Return whole words of the vocabulary, evenly spread, without the marks of their beginning or end."""
    plain = {token.removesuffix("</w>").lstrip("▁Ġ") for token in vocabulary}
    words = sorted(word for word in plain if word.isalpha() and word == word.lower())
    return words[:: max(1, len(words) // _WORDS)]
