"""The byte-pair tokenizer of the sample model: CLIP's own rules with a vocabulary of catalog language."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
LONGEST_TEXT = 32  # tokens, with the start and the end


def train_tokenizer(texts: Iterable[str], merges: int = 700) -> CLIPTokenizer:
    """Learn up to `merges` merges from the texts.

    The vocabulary has CLIP's layout: every byte, every byte that ends a word, the merges, start, end. So any text can
    be encoded, not only words from the training texts.
    """
    rules = CLIPTokenizer().backend_tokenizer
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    learner.normalizer = rules.normalizer
    learner.pre_tokenizer = rules.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=512 + merges, end_of_word_suffix=WORD_END, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = [tuple(pair) for pair in _merges(learner)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [
        *alphabet,
        *(byte + WORD_END for byte in alphabet),
        *("".join(pair) for pair in learned),
        START,
        END,
    ]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocabulary, merges=learned, model_max_length=LONGEST_TEXT)


def _merges(tokenizer: tokenizers.Tokenizer) -> list[list[str]]:
    found = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in found]
