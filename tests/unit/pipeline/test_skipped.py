"""How many skipped products are too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.errors import ConfigError
from ingest.pipeline.skipped import too_many

COUNTS = st.integers(0, 10**9)


@given(skipped=COUNTS, products=COUNTS, allowed=COUNTS)
def test_a_number_allows_that_many_and_no_more(skipped, products, allowed):
    assert too_many(skipped, products, str(allowed)) == (skipped > allowed)


@given(products=st.integers(0, 10**6), share=st.integers(0, 100), data=st.data())
def test_a_share_allows_that_share_of_the_products_and_no_more(products, share, data):
    skipped = data.draw(st.integers(0, products))
    expected = skipped * 100 > share * products
    for written in (f"{share}%", f"{share} %"):
        assert too_many(skipped, products, written) == expected


@given(skipped=COUNTS, products=COUNTS)
def test_no_limit_allows_any_number(skipped, products):
    assert not too_many(skipped, products, "")


@pytest.mark.parametrize("allowed", ["many", "-1", "-1%", "%", "5%%", "nan", "inf", "1e999", "5% of them", " "])
def test_any_other_limit_is_a_one_line_error(allowed):
    with pytest.raises(ConfigError, match="a number of products such as 50, or a share such as 5%") as caught:
        too_many(0, 0, allowed)
    assert len(str(caught.value).splitlines()) == 1
