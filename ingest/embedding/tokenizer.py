"""Texts → tokens, by a tokenizer that is checked to belong to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.device import import_torch
from ingest.embedding.tokenizer_check import HIGHEST, check_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.embedding.checkpoint_files import CheckpointSource

_LEGACY_END = 2  # in CLIP's configurations before transformers PR 24773: the end is the highest token of a text
_GEMMA = {"<pad>": 0, "<eos>": 1, "<bos>": 2}  # the ids of Gemma's vocabulary, SigLIP 2's (arXiv:2502.14786, 2.1)


class Tokenizer:
    """Turns texts into a model's tokens.

    Raises ModelError if it cannot be loaded or belongs to another model: every search would return nonsense.
    """

    def __init__(self, source: CheckpointSource, files: Sequence[Path], config: Any) -> None:
        import_torch()
        self._source = source
        self._text = config.text_config
        self._siglip = "siglip" in config.model_type
        self._is_xlm_r = config.model_type == "altclip"
        try:
            self._encode, vocabulary = self._load(files)
        except Exception as error:  # damaged files raise nearly any error; a missing package, ImportError
            said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            fix = "pip install sentencepiece" if "sentencepiece" in said.lower() else source.fix
            raise ModelError(f"{source.name}: its tokenizer cannot be loaded ({said}); {fix}") from error
        end = int(self._text.eos_token_id) if config.model_type == "clip" else None
        end = HIGHEST if end == _LEGACY_END else end
        check_tokenizer(source.name, self._encode, vocabulary, int(self._text.vocab_size), end)

    def __call__(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return tensors of (n, tokens) by name, as the text tower takes them; texts that are too long are cut."""
        return self._encode(list(texts))

    def _load(self, files: Sequence[Path]) -> tuple[Callable[[list[str]], dict[str, Any]], dict[str, int]]:
        from transformers import AutoTokenizer

        whole = next((path for path in files if path.name == "tokenizer.json"), None)
        if self._siglip and whole is not None:
            import tokenizers

            gemma = tokenizers.Tokenizer.from_file(str(whole))
            if is_gemmas(gemma):
                return GemmaTokens(gemma, self._longest), gemma.get_vocab()
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
        """How many tokens the text tower has positions for; AltCLIP's XLM-R counts them from after its padding's."""
        positions = int(self._text.max_position_embeddings)
        return positions - int(self._text.pad_token_id) - 1 if self._is_xlm_r else positions


def is_gemmas(tokenizer: Any) -> bool:
    """Return whether a tokenizer of `tokenizers` has Gemma's vocabulary, as SigLIP 2's do."""
    return all(tokenizer.token_to_id(token) == number for token, number in _GEMMA.items())


class GemmaTokens:
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
        """Return `input_ids`, (n, longest) int64."""
        torch = import_torch()
        rows = torch.full((len(texts), self._longest), _GEMMA["<pad>"], dtype=torch.int64)
        lowered = [self._lowercase.normalize_str(text) for text in texts]
        for row, found in zip(rows, self._gemma.encode_batch(lowered, add_special_tokens=False), strict=True):
            tokens = [*found.ids[: self._longest - 1], _GEMMA["<eos>"]]
            row[: len(tokens)] = torch.tensor(tokens)
        return {"input_ids": rows}
