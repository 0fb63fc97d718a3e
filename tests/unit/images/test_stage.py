"""The images stage, as the settings say."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.http_server import Answer

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped
from ingest.core.settings import Settings
from ingest.embedding.preprocess import CLIP
from ingest.images.cache import statistics
from ingest.images.cache.entry import ImageContent
from ingest.images.stage import ImageStage, download_policy
from ingest.images.whatwg_url import parse


def test_settings_become_the_policy(tmp_path):
    (tmp_path / "hosts.toml").write_text('["cdn.example"]\nX-Key = "1"\n', encoding="utf-8")
    policy = download_policy(
        Settings(
            download_timeout=3,
            download_deadline=9,
            download_tries=2,
            download_per_host=4,
            max_image_bytes=77,
            user_agent="shop/1",
            host_headers=tmp_path / "hosts.toml",
            allow_host="cdn.internal",
        )
    )
    assert (policy.read_s, policy.deadline_s, policy.tries, policy.at_once, policy.max_bytes) == (3, 9, 2, 4, 77)
    assert policy.user_agent == "shop/1"
    assert policy.host_headers.get(parse("https://cdn.example/a.jpg")) == {"X-Key": "1"}
    assert policy.addresses.allows("cdn.internal", "10.0.0.1")
    assert not policy.addresses.allow_private
    assert download_policy(Settings()).user_agent.startswith("ingest/")


@pytest.fixture
def settings(tmp_path):
    return Settings(catalog=tmp_path / "products.csv", download_missing=True, allow_private=True, download_tries=1)


def fetched(settings, cache, url):
    with ImageStage(settings, cache) as images:
        (record,) = images.find([Product("P1", url, {}, 1)], download=True)
        return record


def test_requests_name_the_user_agent_and_private_hosts_need_permission(settings, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    assert fetched(replace(settings, allow_private=False), cache, url).reason == Reason.BLOCKED_ADDRESS
    assert isinstance(fetched(replace(settings, user_agent="shop/1"), cache, url), ImageFile)
    assert server.requests[0][1]["User-Agent"] == "shop/1"


def test_a_download_that_cannot_be_decoded_is_recorded_and_not_fetched_again(settings, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg[:20] + b"no image any more" * 20 + jpeg[-2:]))
    with ImageStage(settings, cache) as images:
        (image_file,) = images.find([Product("P1", url, {}, 1)], download=True)
        skipped = images.decoder(CLIP)([image_file])[0]
    assert isinstance(skipped, Skipped)
    assert cache.get("P1").failure == skipped.reason
    again = fetched(settings, cache, url)
    assert server.asked("/a") == (2 if skipped.reason.is_transient else 1)
    assert isinstance(again, ImageFile) == skipped.reason.is_transient


def test_an_image_of_more_pixels_than_the_settings_allow_is_too_large(settings, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with ImageStage(replace(settings, max_pixels=100), cache) as images:
        (image_file,) = images.find([Product("P1", url, {}, 1)], download=True)
        assert images.decoder(CLIP)([image_file])[0].reason == Reason.TOO_LARGE


def test_an_image_of_too_many_pixels_stays_and_is_used_if_the_limit_is_raised(settings, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg))

    def decoded(limit, *, download=True):
        with ImageStage(replace(settings, max_pixels=limit, download_missing=download), cache) as images:
            (image_file,) = images.find([Product("P1", url, {}, 1)], download=download)
            return images.decoder(CLIP)([image_file])[0]

    assert decoded(100).reason == decoded(100).reason == Reason.TOO_LARGE
    assert isinstance(decoded(10**6, download=False), Decoded)
    assert server.asked("/a") == 1


def test_an_image_of_too_many_bytes_is_fetched_if_the_limit_is_raised_and_kept_if_it_is_lowered(
    settings, cache, server, jpeg
):
    url = server.serve("/a", Answer(jpeg))
    assert fetched(replace(settings, max_image_bytes=100), cache, url).reason == Reason.TOO_LARGE
    (state,) = statistics.states(cache.index)
    assert (state.name, state.tried_again) == ("too large", True)
    for limit in (len(jpeg), 100):
        assert isinstance(fetched(replace(settings, max_image_bytes=limit), cache, url), ImageFile)
    assert server.asked("/a") == 2


def test_an_image_that_is_too_small_is_used_if_the_limit_is_lowered(settings, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    side = min(Image.open(io.BytesIO(jpeg)).size)
    assert fetched(replace(settings, min_side=side + 1), cache, url).reason == Reason.TOO_SMALL
    assert isinstance(fetched(replace(settings, min_side=side), cache, url), ImageFile)
    assert fetched(replace(settings, min_side=side + 1), cache, url).reason == Reason.TOO_SMALL
    assert server.asked("/a") == 1


def test_an_images_content_is_recorded_when_it_is_decoded(settings, cache, server, jpeg):
    with ImageStage(settings, cache) as images:
        (image_file,) = images.find([Product("P1", server.serve("/a", Answer(jpeg)), {}, 1)], download=True)
        assert cache.index.content(image_file.sha256) is None
        images.decoder(CLIP)([image_file])[0]
    content = cache.index.content(image_file.sha256)
    assert (content.width, content.height, content.blank) == (96, 64, False)


@pytest.mark.parametrize("exact", [False, True])
def test_the_content_is_that_of_the_full_image_even_if_it_is_decoded_smaller(cache, tmp_path, exact):
    settings = Settings(catalog=tmp_path / "products.csv", exact=exact)
    speck = Image.new("RGB", (800, 600), "white")
    speck.putpixel((401, 301), (200, 200, 200))
    sizes = []

    class Noted:
        least = 75

        def __call__(self, image, *_):
            sizes.append(image.size)
            return np.zeros((1, 1, 3), np.uint8)

    for name, image in (("speck", speck), ("plain", Image.new("RGB", (800, 600), "white"))):
        image.save(tmp_path / f"{name}.jpg", quality=100)
    with ImageStage(settings, cache) as images:
        products = [Product(name, f"{name}.jpg", {}, 1) for name in ("speck", "plain")]
        for image_file in images.find(products, download=False):
            images.decoder(Noted())([image_file])
            assert cache.index.content(image_file.sha256) == ImageContent(
                800, 600, image_file.product.product_id == "plain"
            )
    assert sizes == [(800, 600) if exact else (100, 75)] * 2
