"""What people type for a product: seeded captions of many forms, each with the attributes it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sample_catalog.catalog import BRANDS

from .pictures import ATTRIBUTES

if TYPE_CHECKING:
    import numpy as np

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "mug": ("mug", "cup", "coffee mug"),
    "t-shirt": ("t-shirt", "tee", "shirt", "tshirt"),
    "sneaker": ("sneaker", "trainer", "shoe", "running shoe"),
    "lamp": ("lamp", "table lamp", "light"),
    "backpack": ("backpack", "rucksack", "school bag"),
    "chair": ("chair", "seat", "dining chair"),
    "teapot": ("teapot", "tea pot"),
    "vase": ("vase", "flower vase"),
    "umbrella": ("umbrella", "brolly"),
    "cap": ("cap", "baseball cap", "hat"),
    "cushion": ("cushion", "pillow"),
    "tote bag": ("tote bag", "tote", "shopping bag", "handbag"),
    "dress": ("dress", "summer dress", "frock"),
    "sock": ("sock", "stocking"),
    "bottle": ("bottle", "water bottle", "flask"),
    "bowl": ("bowl", "salad bowl", "dish"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "turquoise": ("turquoise", "turquoise", "aqua", "teal"),
    "purple": ("purple", "purple", "violet"),
    "grey": ("grey", "grey", "gray"),
}
PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "plain", "solid", "unpatterned"),
    "striped": ("striped", "striped", "stripy", "stripey"),
    "dotted": ("dotted", "dotted", "spotted", "polka dot"),
    "checked": ("checked", "checked", "checkered", "chequered", "plaid"),
}
PATTERN_NOUNS = {
    "striped": ("stripes",),
    "dotted": ("dots", "spots", "polka dots"),
    "checked": ("checks", "squares"),
}
OPENINGS = (
    "a photo of {}", "photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "buy {}",
    "new {}", "{} for sale", "{} on a table", "a product photo of {}", "i am looking for {}", "show me {}",
    "{} online",
)  # fmt: skip

# Which of (kind, colour, pattern, material) a caption names, and how often: mostly the whole product. A
# material besides a kind only varies the language: it can hardly be seen, so it makes no image wrong.
NAMED: tuple[tuple[tuple[bool, bool, bool, bool], float], ...] = (
    ((True, True, True, False), 0.66),
    ((True, True, False, False), 0.1),
    ((True, False, True, False), 0.06),
    ((False, True, True, False), 0.04),
    ((True, False, False, False), 0.06),
    ((False, True, False, False), 0.03),
    ((False, False, True, False), 0.03),
    ((False, False, False, True), 0.02),
)


@dataclass(frozen=True)
class Caption:
    """The text and, for kind, colour, pattern and material, the value that it names, or -1 for none."""

    text: str
    named: tuple[int, int, int, int]


def plural(noun: str) -> str:
    """Return the plural: mugs, dresses, dishes."""
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x")) else "s")


def plain_query(kind: str, colour: str, pattern: str) -> str:
    """Write a caption in the form that is measured: "red striped mug", "red plain mug"."""
    return f"{colour} {pattern} {kind}"


def _with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def write_caption(labels: tuple[int, int, int, int], rng: np.random.Generator) -> Caption:
    """Write one caption for an image with these labels."""
    shows = NAMED[int(rng.choice(len(NAMED), p=[share for _, share in NAMED]))][0]
    kind, colour, pattern, material = (names[at] for names, at in zip(ATTRIBUTES, labels, strict=True))
    # The first word of each list is the usual one; half of the captions use it.
    noun = KIND_WORDS[kind][0] if rng.random() < 0.6 else str(rng.choice(KIND_WORDS[kind]))
    looks = _looks(colour if shows[1] else "", pattern if shows[2] else "", rng)
    if shows[0]:
        text = _about_kind(noun, looks, material if rng.random() < 0.35 else "", rng)
    else:
        text = _about_anything([*looks.before, *([material] if shows[3] else [])], looks.after, rng)
    kind_at, colour_at, pattern_at, material_at = (at if shown else -1 for at, shown in zip(labels, shows, strict=True))
    return Caption(_dressed_up(text, rng), (kind_at, colour_at, pattern_at, material_at))


@dataclass(frozen=True)
class _Looks:
    """The words for colour and pattern, before and after the noun."""

    before: list[str]
    after: str


def _looks(colour: str, pattern: str, rng: np.random.Generator) -> _Looks:
    before = [str(rng.choice(COLOUR_WORDS.get(colour, (colour,))))] if colour else []
    after = ""
    if pattern in PATTERN_NOUNS and rng.random() < 0.2:
        after = f"with {rng.choice(PATTERN_NOUNS[pattern])}"
    elif pattern:
        before.append(str(rng.choice(PATTERN_WORDS[pattern])))
    if len(before) == 2 and rng.random() < 0.3:
        before.reverse()
    return _Looks(before, after)


def _about_kind(noun: str, looks: _Looks, material: str, rng: np.random.Generator) -> str:
    several = rng.random() < 0.15
    words = [*looks.before, material, plural(noun) if several else noun]
    if rng.random() < 0.08:
        words = [noun, material, *looks.before]  # as in a list of attributes: "mug red striped"
    phrase = " ".join(word for word in [*words, looks.after] if word)
    if rng.random() < 0.35:
        phrase = str(rng.choice(OPENINGS)).format(phrase if several else _with_article(phrase))
    elif rng.random() < 0.2 and not several:
        phrase = _with_article(phrase)
    return phrase


def _about_anything(adjectives: list[str], after: str, rng: np.random.Generator) -> str:
    words = " ".join(adjectives)
    form = str(rng.choice(("something {}", "{}", "{} thing", "{} product", "anything {}")))
    return " ".join(f"{form.format(words)} {after}".split())


def _dressed_up(text: str, rng: np.random.Generator) -> str:
    """Add a brand, which no image shows, to some captions."""
    if rng.random() < 0.1:
        brand = str(rng.choice(BRANDS)).lower()
        text = f"{brand} {text}" if rng.random() < 0.5 else f"{text} by {brand}"
    return text
