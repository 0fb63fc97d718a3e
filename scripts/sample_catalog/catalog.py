"""Which products a catalog holds: kinds, colours and patterns combined, in groups, with made-up details."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .shapes import KINDS
from .surfaces import COLOURS, PATTERNS, draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Combination = tuple[str, str, str]  # kind, colour, pattern

GROUP_SIZE = 3
FEATURED: tuple[Combination, ...] = (
    ("mug", "red", "striped"),
    ("backpack", "blue", "plain"),
    ("sneaker", "white", "plain"),
)
COLUMNS = ("product_id", "image", "title", "category", "colour", "price", "brand")
BRANDS = (
    "Alderbrook", "Birchley", "Casa Lumo", "Dovetail & Co", "Ellory", "Fjordhus", "Greta Moss", "Halden",
    "Kettle Row", "Marlo", "Nordvik", "Pinewell",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """How a kind is sold: its category, the materials it comes in and its price range."""

    category: str
    materials: tuple[str, ...]
    cheapest: float
    dearest: float


LINES: dict[str, Line] = {
    "mug": Line("mugs", ("ceramic", "enamel", "porcelain"), 4.9, 24),
    "t-shirt": Line("t-shirts", ("cotton", "linen"), 9.9, 45),
    "sneaker": Line("sneakers", ("canvas", "leather", "suede"), 29, 150),
    "lamp": Line("lamps", ("linen", "paper", "glass"), 19, 160),
    "backpack": Line("backpacks", ("nylon", "canvas", "leather"), 25, 140),
    "chair": Line("chairs", ("velvet", "linen", "leather"), 49, 180),
    "teapot": Line("teapots", ("porcelain", "ceramic", "enamel"), 14, 70),
    "vase": Line("vases", ("glass", "ceramic", "porcelain"), 9, 85),
    "umbrella": Line("umbrellas", ("polyester", "nylon"), 9.9, 55),
    "cap": Line("caps", ("cotton", "denim", "wool"), 8.9, 39),
    "cushion": Line("cushions", ("velvet", "cotton", "linen"), 7.9, 49),
    "tote bag": Line("tote bags", ("canvas", "cotton", "leather"), 6.9, 110),
    "dress": Line("dresses", ("cotton", "linen", "polyester"), 24, 140),
    "sock": Line("socks", ("cotton", "wool"), 4.9, 16),
    "bottle": Line("bottles", ("steel", "glass", "enamel"), 9.9, 42),
    "bowl": Line("bowls", ("ceramic", "porcelain", "enamel"), 5.9, 38),
}


@dataclass(frozen=True)
class Product:
    """One row of the catalog, and what its image has to show."""

    number: int
    product_id: str
    combination: Combination
    material: str
    price: float
    brand: str

    @property
    def image(self) -> str:
        """The image's path, relative to the catalog file."""
        return f"images/{self.product_id}.jpg"

    @property
    def title(self) -> str:
        """Such as "Red striped ceramic mug"; a plain product does not name its pattern."""
        kind, colour, pattern = self.combination
        words = [colour, "" if pattern == "plain" else pattern, self.material, kind]
        return " ".join(word for word in words if word).capitalize()

    def row(self) -> dict[str, str]:
        """Return the product as a row of the catalog file."""
        kind, colour, _ = self.combination
        values = (
            self.product_id,
            self.image,
            self.title,
            LINES[kind].category,
            colour,
            f"{self.price:.2f}",
            self.brand,
        )
        return dict(zip(COLUMNS, values, strict=True))


def all_combinations() -> list[Combination]:
    """List every kind, colour and pattern, in a fixed order."""
    return [(kind, colour, pattern) for kind in KINDS for colour in COLOURS for pattern in PATTERNS]


def ordered_combinations(rng: np.random.Generator) -> list[Combination]:
    """Order every combination once: the featured ones, then a shuffle that goes round the kinds in turn."""
    looks = [(colour, pattern) for colour in COLOURS for pattern in PATTERNS]
    shuffled = {kind: rng.permutation(len(looks)) for kind in KINDS}
    rounds = [(kind, *looks[shuffled[kind][turn]]) for turn in range(len(looks)) for kind in KINDS]
    return [*FEATURED, *[combination for combination in rounds if combination not in FEATURED]]


def group_sizes(count: int, combinations: int) -> list[int]:
    """Return how many drawings each combination of the order gets, so that a search has several right answers.

    As many combinations are used as allow at least `GROUP_SIZE` drawings each and one more for the first
    of them; what is left over goes one by one to the groups in order. A catalog too large for groups of that
    size uses every combination and spreads its drawings over them evenly.
    """
    used = max(1, min(combinations, (count - 1) // GROUP_SIZE))
    every, left = divmod(count, used)
    return [every + (place < left) for place in range(used)]


def product_rows(count: int, seed: int) -> list[Product]:
    """List the products of a catalog of `count`, shuffled so that a group is spread over it.

    The products of a group come in the materials of their kind in turn.
    """
    rng = np.random.default_rng(seed)
    order = ordered_combinations(rng)
    sizes = group_sizes(count, len(order))
    wanted = [(combination, turn) for combination, size in zip(order, sizes, strict=False) for turn in range(size)]
    digits = max(4, len(str(count)))
    places: list[int] = rng.permutation(count).tolist()
    return [_product(number, digits, *wanted[place], rng) for number, place in enumerate(places, start=1)]


def _product(number: int, digits: int, combination: Combination, turn: int, rng: np.random.Generator) -> Product:
    line = LINES[combination[0]]
    price = np.exp(rng.uniform(np.log(line.cheapest), np.log(line.dearest)))
    return Product(
        number=number,
        product_id=f"P{number:0{digits}d}",
        combination=combination,
        material=line.materials[turn % len(line.materials)],
        price=max(line.cheapest, round(float(price)) - 0.1),
        brand=str(rng.choice(BRANDS)),
    )


def draw_product(product: Product, folder: Path, seed: int, size: int, quality: int) -> None:
    """Draw one product into its file; the random stream depends only on the seed and the number."""
    rng = np.random.default_rng([seed, product.number])
    kind, colour, pattern = product.combination
    picture = draw(kind, colour, pattern, product.material, size, rng)
    picture.save(folder / product.image, quality=quality, optimize=True)


def write_rows(products: list[Product], path: Path) -> None:
    """Write the catalog file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(product.row() for product in products)


def render(
    folder: Path, *, count: int, seed: int, size: int, quality: int, workers: int | None = None
) -> Iterator[int]:
    """Draw a catalog into `folder` with `workers` processes; yield how many images are finished."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    products = product_rows(count, seed)
    job = partial(draw_product, folder=folder, seed=seed, size=size, quality=quality)
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        for done, product in enumerate(products, start=1):
            job(product)
            yield done
    else:
        with ProcessPoolExecutor(workers) as pool:
            chunk = max(1, min(64, count // workers))
            for done, _ in enumerate(pool.map(job, products, chunksize=chunk), start=1):
                yield done
    write_rows(products, folder / "products.csv")  # last, so that a half-drawn catalog has no catalog file
