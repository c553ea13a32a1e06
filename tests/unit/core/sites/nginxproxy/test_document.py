"""The reader of documents: YAML and JSON of mappings, bounded, and of nothing that could be more than it seems."""

import json
import time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.sites.nginxproxy import document as module
from lbwatch.core.sites.nginxproxy.document import MAX_CHARS, MAX_DEPTH, MAX_KEYS, DocumentError, Value, document

LEAVES = st.one_of(st.none(), st.text(alphabet="ab/:.{}[]&*!#'\" \\\n0127~éx", max_size=12))
KEYS = st.text(alphabet="ab/.-_ 01:é", max_size=8)
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


def depth_of(value: Value) -> int:
    return 1 + max(map(depth_of, value.values()), default=0) if isinstance(value, dict) else 0


def keys_of(value: Value) -> int:
    return len(value) + sum(map(keys_of, value.values())) if isinstance(value, dict) else 0


def refused(text: str) -> str:
    with pytest.raises(DocumentError) as raised:
        document(text)
    return str(raised.value)


@given(DOCUMENTS.filter(lambda value: isinstance(value, dict) and depth_of(value) <= MAX_DEPTH))
def test_json_says_what_it_says(value: Value) -> None:
    """As any JSON reader would have it."""
    assert document(json.dumps(value)) == value
    assert document(json.dumps(value, indent="\t")) == value  # tabs, which YAML does not take


@given(DOCUMENTS.filter(lambda value: isinstance(value, dict) and depth_of(value) <= MAX_DEPTH), st.booleans())
def test_yaml_says_what_it_says(value: Value, flow: bool) -> None:
    """By PyYAML's own writer, which quotes what would be something else than text."""
    assert document(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example:", {"a.example": None}),
        ("a.example: ~", {"a.example": None}),
        ("a.example: null", {"a.example": None}),
        ("a.example: {}", {"a.example": {}}),
        ("a.example: ''", {"a.example": ""}),
        ("a.example: 'null'", {"a.example": "null"}),
        ("a: {/: {port: 8080}}", {"a": {"/": {"port": "8080"}}}),
        ("a: {/: {port: '8080'}}", {"a": {"/": {"port": "8080"}}}),
        ('{"a": {"/": {"port": 8080, "dest": ""}}}', {"a": {"/": {"port": "8080", "dest": ""}}}),
        ('{"a": {"\\/x": {"port": 1e3}}}', {"a": {"/x": {"port": "1e3"}}}),
        ('{"a": {"/": {"port": true}}}', {"a": {"/": {"port": "true"}}}),
        ("{a: {/: {port: 8}}}", {"a": {"/": {"port": "8"}}}),
        ("a:\n  /x:\n    port: 010\n", {"a": {"/x": {"port": "010"}}}),
        ("on:\n  yes: {}\n", {"on": {"yes": {}}}),
        ("1.10:\n", {"1.10": None}),
        ("---\na:\n...\n", {"a": None}),
        ("# nothing\n", None),
        ("", None),
        ("text", "text"),
    ],
)
def test_each_way_to_write_it_is_read_as_its_writer_meant(text: str, expected: Value) -> None:
    """A port may be a number or a text; a host that looks like a number or a truth value is still a host."""
    assert document(text) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &x {/: }\nb: *x\n", "anchors"),
        ("a: *x\n", "anchors"),
        ("*x : 1\n", "anchors"),
        ("&k a: 1\n", "anchors"),
        ("a: !!python/object/apply:os.system [id]\n", "tags"),
        ("a: !!str 1\n", "tags"),
        ("!x a: 1\n", "tags"),
        ("a: ! 1\n", "tags"),
        ("a:\na:\n", "'a' stands there twice"),
        ('{"a": {}, "a": {}}', "'a' stands there twice"),
        ("a: {/x: , /x: }\n", "'/x' stands there twice"),
        ('{"a": {"/": {"port": 1, "port": 2}}}', "'port' stands there twice"),
        ("a: [1]\n", "no lists"),
        ('{"a": [1]}', "no lists"),
        ("- a\n", "no lists"),
        ("? [a]\n: 1\n", "its keys are texts"),
        ("? {a: 1}\n: 1\n", "its keys are texts"),
        ("a: {b: {c: {d: 1}}}", "too deep"),
        ('{"a": {"b": {"c": {"d": 1}}}}', "too deep"),
        ("a: 1\n---\nb: 1\n", "second one begins in line 2"),
        ("a: {", "no YAML: line"),
        ("a:\n\tb: 1\n", "no YAML: line 2"),
        ("a: b: c\n", "no YAML: line 1"),
        ('{"a": 1,}}', "no YAML"),
        ("a: \x00", "no YAML"),
        ("a: \udc80", "no YAML"),
        ("x" * (MAX_CHARS + 1), "at most 65536 characters"),
    ],
)
def test_what_could_mean_more_than_it_seems_is_refused(text: str, word: str) -> None:
    """An alias makes gigabytes of a few lines, a tag an object, and of a key that stands there twice one is not meant."""
    assert word in refused(text)


def test_a_merge_key_is_a_key_like_any_other() -> None:
    """It merges nothing: what it would take in is an alias, or could be written there."""
    assert document("a: {<<: {b: c}}") == {"a": {"<<": {"b": "c"}}}


def test_there_is_a_bound_for_keys() -> None:
    """Each may become something that the load balancer keeps in memory."""
    at_most = {f"h{number}": None for number in range(MAX_KEYS)}
    assert document(json.dumps(at_most)) == at_most
    assert document(yaml.safe_dump(at_most)) == at_most
    more = at_most | {"more": None}
    assert "at most 2048 keys" in refused(json.dumps(more))
    assert "at most 2048 keys" in refused(yaml.safe_dump(more))


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_CHARS,
        "{" * MAX_CHARS,
        '{"a":' * (MAX_CHARS // 5),
        "{a: " * (MAX_CHARS // 4),
        "? " * (MAX_CHARS // 2),
        "- " * (MAX_CHARS // 2),
        "a: '" + "''" * (MAX_CHARS // 2 - 3),
        "a: |\n" + " x\n" * (MAX_CHARS // 4),
        "{" + ",".join(f"k{number}" for number in range(9000)) + "}",
        '{"a": ' + "9" * (MAX_CHARS - 8) + "}",
        "&a " * (MAX_CHARS // 3),
        "#" * MAX_CHARS,
        "a:\n" * (MAX_CHARS // 3),
        "%TAG ! tag:x\n" * 5000,
    ],
    ids=range(14),
)
def test_no_document_takes_long(text: str) -> None:
    """Others wait for their servers meanwhile: there is one thread for all containers."""
    began = time.process_time()
    try:
        document(text[:MAX_CHARS])
    except DocumentError as error:
        assert str(error).isprintable()
    assert time.process_time() - began < 1.0


@given(st.one_of(hostile_text, st.text(max_size=200), st.text(alphabet="{}[]:,&*!?-|>'\"%@` \n\tab/~<", max_size=60)))
@example("a: &x [*x]")
@example("%YAML 3.0\n---\na: 1")
@example("\ufeffa: 1")
def test_any_text_is_a_document_or_is_refused_in_a_line(text: str) -> None:
    """It comes from a container: nothing else may be raised, and what is read is within the bounds."""
    try:
        value = document(text)
    except DocumentError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 600
        return
    assert depth_of(value) <= MAX_DEPTH
    assert keys_of(value) <= MAX_KEYS


@given(st.text(alphabet="{}[]:,&*!?-'\"% \nab/~<", max_size=60))
def test_both_of_pyyamls_readers_agree(text: str) -> None:
    """libyaml is not there on every machine: what a container gets must not hang on it."""

    def read() -> Value | str:
        try:
            return document(text)
        except DocumentError as error:
            return "refused" if "no YAML" in str(error) else str(error)

    by_c = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LOADER", yaml.SafeLoader)
        by_python = read()
    # In what is no YAML anyway, the one may come upon something else first.
    if "refused" not in (by_c, by_python):
        assert by_c == by_python
