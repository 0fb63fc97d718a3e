"""What requests and answers consist of. Requests are validated by these types; the OpenAPI document is made of them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

MAX_TEXT, MAX_ID, MAX_FILTER, MAX_LIMIT, MAX_WEIGHT = 2_000, 1_024, 10_000, 1_000, 100.0
"""In characters; hits; and the largest weight."""
DEFAULT_LIMIT = 20
SIDES = (16, 2048)
"""Smallest and largest longer side of a served image, in pixels."""
DEFAULT_SIDE = 512


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains the character NUL; remove it")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give a text, or leave it out")
    return text


def _whole(value: object) -> object:
    """JSON has one type of number: 24.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digits(value: object) -> object:
    """Without this, Pydantic would also read "+5", " 5", "5.0" and "1_000" in a URL."""
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise ValueError(f"is {value[:60]!r}, not a whole number")
    return value


Text = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT, json_schema_extra={"pattern": r"\S"}),
    AfterValidator(_not_blank), AfterValidator(_without_nul),
]  # fmt: skip
ProductId = Annotated[str, Field(min_length=1, max_length=MAX_ID), AfterValidator(_without_nul)]
Filter = Annotated[
    str, Field(min_length=1, max_length=MAX_FILTER, description='A Milvus filter: category == "mugs" and price < 20'),
    AfterValidator(_without_nul),
]  # fmt: skip
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Side = Annotated[int, Field(ge=SIDES[0], le=SIDES[1]), BeforeValidator(_digits)]
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]
IMAGE_SCHEMA = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
ImageBytes = Annotated[str, WithJsonSchema(IMAGE_SCHEMA)]
Count = Annotated[int, Field(ge=0)]
# Answered as they are stored, whole numbers as whole numbers; NaN and the infinities become null.
Value = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Number = Annotated[Any, WithJsonSchema({"type": ["number", "null"]})]


class Strict(BaseModel):
    """Base of all types here: nothing unknown, and no value of another type converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


# A part that was left out is "": a default_factory keeps null out of the document, and "" is never valid in a request.


class SearchQuery(Strict):
    """A search without its image."""

    text: Text = Field(default_factory=str)
    product_id: ProductId = Field(
        default_factory=str, description="Finds products like this one; the product itself is left out."
    )
    filter: Filter = Field(default_factory=str)
    limit: Annotated[Limit, BeforeValidator(_whole)] = DEFAULT_LIMIT
    weights: dict[Literal["text", "picture", "product"], Weight] = Field(
        default_factory=dict,
        description="How much each part counts: 1 unless given; a negative weight searches away from that part.",
    )


class SearchWithoutImage(SearchQuery):
    """A search by text, by product, or by both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["text"]}, {"required": ["product_id"]}]})


class SearchForm(Strict):
    """A search by an image and, optionally, text and product."""

    picture: ImageBytes
    query: SearchQuery = Field(default_factory=SearchQuery)


class EmbedQuery(Strict):
    """A text to embed; none in a form with an image."""

    model_config = ConfigDict(json_schema_extra={"required": ["text"]})

    text: Text = Field(default_factory=str)


class EmbedForm(Strict):
    """An image to embed."""

    picture: ImageBytes


class NoParameters(BaseModel):
    """No query parameters: unknown ones are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class SimilarParameters(NoParameters):
    """Query parameters of a search for similar products."""

    filter: Filter = Field(default_factory=str)
    limit: Annotated[Limit, BeforeValidator(_digits)] = DEFAULT_LIMIT


class ImageParameters(NoParameters):
    """Query parameters of an image."""

    side: Side = DEFAULT_SIDE


class ProductById(NoParameters):
    """Query parameters that name a product, by any id."""

    product_id: ProductId


class SimilarById(SimilarParameters, ProductById):
    """Query parameters of a search for products similar to one, by any id."""


class ImageById(ImageParameters, ProductById):
    """Query parameters of a product's image, by any id."""


class SearchHit(Strict):
    """A product found. Its fields are apart from its score, so that no catalog column can hide it."""

    product_id: str
    score: Annotated[float, Field(description="Cosine similarity of query and product, −1 to 1.")]
    fields: dict[str, Any]


class Hits(Strict):
    """Products found, best first; `warnings` say why a filter may have found nothing."""

    hits: list[SearchHit]
    warnings: Annotated[
        list[str],
        Field(default_factory=list, description="Names in the filter that neither the contract nor a hit has."),
    ]


class Vector(Strict):
    """An embedding, and the embedding space it belongs to."""

    vector: Annotated[list[float], Field(description="Unit length, in the collection's embedding space.")]
    alias: str
    model: str
    fingerprint: str
    dim: Count
    ef: Count


class Product(Strict):
    """A product as it is stored in the collection."""

    product_id: str
    fields: dict[str, Value]


class Contract(BaseModel):
    """The collection's property ingest.contract, and the name of the collection."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    collection: Any
    alias: Any
    model: Any
    revision: Any
    fingerprint: Any
    dim: Any
    fields: Any
    ef: Annotated[Count, Field(description="The ef to search with: the measured one if there is one.")]
    ef_schema: Count
    ef_measured: Annotated[int | None, Field(description="Set by `ingest evaluate --apply`.")]
    missing: Annotated[
        dict[str, Number],
        Field(default_factory=dict, description="How missing numbers are stored, by field: null or a number; NaN if "
                                                "the field is not listed."),
    ]  # fmt: skip


class FacetValue(Strict):
    """A value of a field, and the number of rows that have it."""

    value: Value
    rows: Count


class Facet(Strict):
    """What a field can be filtered by: its values, the most frequent first, or a range of numbers."""

    name: str
    type: str
    low: Number
    high: Number
    missing: Annotated[Number, Field(description="Stored for a missing number: exclude it from a range.")]
    values: list[FacetValue]


class SharedImage(Strict):
    """An image that several products share: how many, and the first of them."""

    products: Count
    product_ids: list[str]


class LatestRun(Strict):
    """The latest run. `reasons` counts everything skipped; `skipped` holds the first rows of `skipped.csv`.

    `collection` is the one that the run filled, "" if none; `served` is what the alias pointed to at its end; `failure`
    says why the collection is not live, or what else went wrong.
    """

    started: str
    outcome: str
    reasons: dict[str, Count]
    skipped: list[dict[str, str | None]]
    collection: str
    served: str | None
    failure: str


class Collection(Strict):
    """The collection: counts, facets, shared images and the latest run."""

    collection: str
    rows: Count
    pictures: Count
    facets: list[Facet]
    sharing: Count
    shared: list[SharedImage]
    latest_run: LatestRun | None


class Map(Strict):
    """Products on a plane: `x` and `y` in −1 to 1, one column per field in `fields`."""

    product_ids: list[str]
    x: list[float]
    y: list[float]
    fields: dict[str, list[Value]]
    explained: Annotated[float, Field(ge=0, le=1, description="Share of the variance that the plane keeps.")]


class Status(Strict):
    """The state of the service, in one word."""

    status: str


class Failure(Strict):
    """An error."""

    error: Annotated[str, Field(description="What is wrong and how to fix it, in one line.")]
