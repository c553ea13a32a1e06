"""
Writes the page: one HTML file with its own style and script, made on our side so that it needs no script.

The script only asks for the page again and exchanges what changed.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lbwatch.api.page.overview import IDLE, MAX_COLUMNS, PASSING, SITE_PATHS, UNFOLDED_ENGINES, overview_of
from lbwatch.api.page.query import LISTS, Query, container_href
from lbwatch.api.page.search import Words, narrowed, words_of
from lbwatch.api.page.words import clock, number, plural, seconds, visible
from lbwatch.api.report import Report, report_of
from lbwatch.core.explain import Explanation, stamp
from lbwatch.core.history import PUSHED
from lbwatch.core.serving import place_words
from lbwatch.core.status import Status

CONTENT_TYPE = "text/html; charset=utf-8"
FOLDER = Path(__file__).parent
FRAME, OVERVIEW, CONTAINER = "frame.html.j2", "overview.html.j2", "container.html.j2"

_TAG_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """
    All that the page can show at one time.

    Attributes:
        words: What of containers is searched besides.
        digest: The same as long as nothing changed but the time.
    """

    report: Report
    words: Words
    digest: bytes


def picture_of(status: Status) -> Picture:
    """Return what the page can show of a status."""
    report, words = report_of(status), words_of(status.containers, prefix=status.label_prefix)
    # Of times those that stay, and of today the date: with another one times are written differently.
    engines = tuple(replace(each, for_s=0.0, synced_s=None) for each in report.engines)
    lasting = replace(report, at=report.at[:10], engines=engines)
    return Picture(report=report, words=words, digest=_digest(lasting, words))


def tag(picture: Picture, *, query: Query) -> str:
    """Return an entity tag: another one as soon as the page would differ by more than the time that it is of."""
    return _digest(picture.digest, query).hex()


def overview_html(picture: Picture, *, query: Query) -> bytes:
    """Return the page at `/`."""
    found = narrowed(picture.report, query=query, words=picture.words)
    overview = overview_of(picture.report, found=found, query=query)
    return _written(OVERVIEW, overview=overview, report=picture.report, query=query, tag=tag(picture, query=query))


def container_tag(picture: Picture, *, explanation: Explanation | str) -> str:
    """Return the entity tag of a container's page."""
    return _digest(picture.digest, explanation).hex()


def container_html(picture: Picture, *, name: str, explanation: Explanation | str) -> bytes:
    """
    Return the page of a container.

    Args:
        picture: All that there is.
        name: As it was asked for.
        explanation: What becomes of it, with its story; or why nothing can be shown, in words.
    """
    known = None if isinstance(explanation, str) else explanation
    if known and known.story:
        name = known.story.container  # it may have been asked for by its id
    return _written(
        CONTAINER,
        report=picture.report,
        query=Query(),
        tag=container_tag(picture, explanation=explanation),
        name=name,
        known=known,
        refusal=None if known else explanation,
    )


def _digest(*parts: object) -> bytes:
    # As Python writes it, and not as JSON: what a program said may hold what cannot be encoded.
    return hashlib.blake2b(repr(parts).encode(errors="backslashreplace"), digest_size=_TAG_BYTES).digest()


def _written(template: str, **given: object) -> bytes:
    return _environment().get_template(template).render(given).encode(errors="backslashreplace")


def _policy() -> str:
    """Return a policy that allows the file's own script and style by their hashes, and requests to its own origin."""
    text = (FOLDER / FRAME).read_text(encoding="utf-8")
    hashes = {
        tag: " ".join(f"'sha256-{_hash(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL))
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    # Names and labels are text that strangers chose. The policy is the second fence, should this one ever fail.
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters |= {
        "clock": clock,
        "container_href": container_href,
        "number": number,
        "places": place_words,
        "plural": plural,
        "seconds": seconds,
        "stamp": stamp,
    }
    environment.globals |= {"IDLE": IDLE, "LISTS": LISTS, "MAX_COLUMNS": MAX_COLUMNS, "PASSING": PASSING}
    environment.globals |= {"PUSHED": PUSHED, "SITE_PATHS": SITE_PATHS, "UNFOLDED_ENGINES": UNFOLDED_ENGINES}
    return environment


POLICY = _policy()
