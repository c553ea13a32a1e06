"""What is asked of the page: everything that an address may say, and that none of it is without a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from yarl import URL

from lbwatch.api.page.query import LISTS, MAX_FILTER_CHARS, MAX_TERMS, Query, container_href, query_of

ANY = st.text(max_size=300)


@given(
    st.builds(
        Query,
        filter=ANY.map(lambda text: " ".join(text[:MAX_FILTER_CHARS].split())),
        upstream=st.text(max_size=255),
        show=st.sampled_from(["", *LISTS]),
        page=st.integers(1, 999_999),
    )
)
def test_an_address_says_again_what_was_asked(query: Query) -> None:
    """A link that loses the filter shows another list than the one that its reader came from."""
    said = query.href(page=query.page)
    assert query_of(URL(said).query) == query_of(URL(query_of(URL(said).query).href(page=query.page)).query)
    if query.filter.isprintable() and query.upstream.isprintable():
        assert query_of(URL(said).query) == query


@given(st.dictionaries(st.sampled_from(["q", "upstream", "show", "page", "other"]), st.text(max_size=5000)))
def test_nothing_that_an_address_may_say_is_without_a_bound(asked: dict[str, str]) -> None:
    """Whoever reaches the port may ask anything: of each word all rows are searched."""
    query = query_of(MultiDict(asked))
    assert len(query.filter) <= MAX_FILTER_CHARS
    assert len(query.terms) <= MAX_TERMS
    assert len(query.upstream) <= 255
    assert query.show in ("", *LISTS)
    assert 1 <= query.page < 10**6


def test_a_filter_and_a_name_of_any_length_are_cut() -> None:
    """An address may have eight thousand characters, and each word is looked for in every row."""
    query = query_of({"q": "word " * 1000, "upstream": "x" * 8000, "page": "9" * 8000})
    assert len(query.filter) <= MAX_FILTER_CHARS
    assert len(query.upstream) <= 255
    assert len(query.terms) == MAX_TERMS
    assert query.page == 1


@pytest.mark.parametrize("page", ["", "0", "-1", "x", "1.5", "\u0663", "0000000", "00", " 2"])
def test_a_page_that_cannot_be_is_the_first(page: str) -> None:
    """An address is easily mistyped."""
    assert query_of({"page": page}).page == 1


def test_another_list_begins_at_its_first_page() -> None:
    """The seventh page of one list is nothing in another."""
    query = Query(filter="web", show="servers", page=7)
    assert query.href(show="idle") == "./?q=web&show=idle"
    assert query.href(page=8) == "./?q=web&show=servers&page=8"
    assert Query().href() == "./"


def test_a_container_has_an_address_whatever_it_is_named() -> None:
    """With several engines names have a slash; what asks by hand may have anything."""
    assert container_href("one/web & more") == "container?name=one%2Fweb+%26+more"
    assert container_href("half \ud83d") == "container?name=half+%3F"
