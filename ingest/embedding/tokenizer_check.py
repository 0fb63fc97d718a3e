"""Whether a tokenizer belongs to a model, tried with words of its vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HIGHEST = -1
"""The end of texts for a CLIP that looks for the highest token of a text, whichever it is."""
_LARGEST, _SMALLEST = 1.01, 0.9  # times the model's vocabulary: spare tokens, or a vocabulary rounded up for speed
_WORDS = 64  # words that are tried


def check_tokenizer(
    name: str, encode: Callable[[list[str]], dict[str, Any]], vocabulary: Iterable[str], size: int, end: int | None
) -> None:
    """Raise ModelError if the tokens cannot be those of a model with `size` tokens.

    `name` is the checkpoint's, for messages; `end` is the token where the model looks for a text's features, `HIGHEST`,
    or None if it does not look for one.
    """
    vocabulary = list(vocabulary)
    if not size * _SMALLEST <= len(vocabulary) <= size * _LARGEST:
        raise _misfit(name, f"has {len(vocabulary):,} tokens and its model's vocabulary {size:,}")
    words = _words(vocabulary)
    if not words:
        raise _misfit(name, "knows no words")
    rows = encode(words)["input_ids"].tolist()
    if len({tuple(row) for row in rows}) <= len(rows) // 2:
        raise _misfit(name, "gives the same tokens for different words")
    if (most := max(map(max, rows))) >= size:
        raise _misfit(name, f"gives token {most:,} and its model's vocabulary has {size:,}")
    if end is not None and not _have_end(rows, end):
        said = "with one highest token" if end == HIGHEST else f"as its config.json says (eos_token_id {end})"
        raise _misfit(name, f"does not end texts {said}")


def _misfit(name: str, what: str) -> ModelError:
    return ModelError(
        f"{name}: its tokenizer {what}; copy tokenizer.json and tokenizer_config.json from where the model is from"
    )


def _have_end(rows: list[list[int]], end: int) -> bool:
    """Return whether CLIP can find the end of each text: it takes the text's features from there."""
    if end == HIGHEST:
        return len({max(row) for row in rows}) == 1
    return all(end in row for row in rows)


def _words(vocabulary: list[str]) -> list[str]:
    """Return whole words of the vocabulary, evenly spread, without the marks of their beginning or end."""
    plain = {token.removesuffix("</w>").lstrip("▁Ġ") for token in vocabulary}
    words = sorted(word for word in plain if word.isalpha() and word == word.lower())
    return words[:: max(1, len(words) // _WORDS)]
