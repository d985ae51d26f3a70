"""YAML text becomes plain values with places, and what is wrong with it as YAML is told all at once."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.errors import SpecError
from lossforge.spec import nodes
from lossforge.spec.document import Document, parse
from lossforge.spec.problems import Source
from lossforge.spec.scalars import resolve


def read(text: str) -> Document:
    return parse(text, Source("f.yaml"))


def value(text: str) -> Any:
    document = read(text)
    assert document.problems == []
    return document.data


def problems(text: str) -> list[str]:
    return [str(problem) for problem in sorted(read(text).problems, key=lambda problem: problem.place)]


def fatal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(text)
    (message,) = caught.value.problems
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, 0.001) for text in ("1e-3", "1E-3", "1.e-3", "1.0e-3", "+1e-03", ".1e-2")],
        *[("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("-0.0", -0.0), ("1e+2", 100.0), ("1e400", math.inf)],
        *[("7", 7), ("-7", -7), ("+7", 7), ("007", 7), ("9" * 30, 10**30 - 1), ("9" * 5000, math.inf)],
        *[(".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf)],
        *[(text, True) for text in ("true", "True", "TRUE")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
    ],
)
def test_a_plain_scalar_has_the_meaning_of_yaml_1_2(text: str, expected: object) -> None:
    assert resolve(text) == expected
    assert type(resolve(text)) is type(expected)
    assert value(f"a: {text}") == {"a": expected}


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "No", "y", "n", "tRUE", "nULL", "1_000", "0x1F", "0o7", "1:30", "2001-01-01", "e5", "."],
)
def test_what_only_yaml_1_1_gives_a_meaning_is_a_string(text: str) -> None:
    assert value(f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number_is_read_as_such(text: str) -> None:
    assert math.isnan(value(f"a: {text}")["a"])


@pytest.mark.parametrize("text", ["'1'", '"1"', "|-\n  1", ">-\n  1"])
def test_a_scalar_with_quotes_or_a_block_is_a_string(text: str) -> None:
    assert value(f"a: {text}") == {"a": "1"}


def test_every_value_has_its_place_and_its_spelling() -> None:
    document = read("a:\n  - b\n  - c: 1.50\n    d: 'x'\n")
    places = {path: (spot.key.label, spot.value.label, spot.text) for path, spot in document.spots.items()}
    assert places == {
        (): ("f.yaml:1:1", "f.yaml:1:1", None),
        ("a",): ("f.yaml:1:1", "f.yaml:1:1", None),
        ("a", 0): ("f.yaml:2:5", "f.yaml:2:5", "b"),
        ("a", 1): ("f.yaml:3:5", "f.yaml:3:5", None),
        ("a", 1, "c"): ("f.yaml:3:5", "f.yaml:3:8", "1.50"),
        ("a", 1, "d"): ("f.yaml:4:5", "f.yaml:4:8", None),
    }


def test_duplicate_keys_are_all_told_and_the_first_counts() -> None:
    text = "a: 1\na: 2\nb:\n  c: 1\n  'c': 2\n  c: 3\n"
    assert problems(text) == [
        "f.yaml:2:1: a: duplicate key (first on line 1)",
        "f.yaml:5:3: b.c: duplicate key (first on line 4)",
        "f.yaml:6:3: b.c: duplicate key (first on line 4)",
    ]
    assert read(text).data == {"a": 1, "b": {"c": 1}}


def test_tags_are_told_and_never_obeyed() -> None:
    text = "a: !!python/object/apply:os.system ['true']\nb: !mine 1\n!!str c: 1\nd: !!str 1\ne: ! 1\n"
    assert problems(text) == [
        "f.yaml:1:4: a: tag '!!python/object/apply:os.system' is not supported; leave it out",
        "f.yaml:2:4: b: tag '!mine' is not supported; leave it out",
        "f.yaml:3:1: tag '!!str' is not supported; leave it out",
        "f.yaml:4:4: d: tag '!!str' is not supported; leave it out",
        "f.yaml:5:4: e: tag '!' is not supported; leave it out",
    ]
    assert read(text).data == {"a": ["true"], "b": 1, "d": 1, "e": 1}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("1", "keys must be strings, got the number 1; quote it"),
        ("1.50", "keys must be strings, got the number 1.50; quote it"),
        ("true", "keys must be strings, got true; quote it"),
        ("null", "keys must be strings, got nothing; quote it"),
        ("[a, b]", "keys must be strings, got a list"),
        ("{a: b}", "keys must be strings, got a mapping"),
        ('"\\ud800"', "half of a surrogate pair is not a character"),
    ],
)
def test_a_key_that_is_no_string_is_told_and_left_out(key: str, message: str) -> None:
    text = f"outer:\n  a: 1\n  {key}: {{b: 2}}\n"
    assert problems(text) == [f"f.yaml:3:3: outer: {message}"]
    assert read(text).data == {"outer": {"a": 1}}


def test_quoted_keys_and_words_such_as_no_are_keys() -> None:
    assert value("no: 1\n'2': 3\n'<<': 4") == {"no": 1, "2": 3, "<<": 4}


def test_half_a_surrogate_pair_is_no_value() -> None:
    assert problems('a: "\\ud800"') == ["f.yaml:1:4: a: half of a surrogate pair is not a character"]


def test_an_alias_is_a_value_of_its_own_at_its_own_place() -> None:
    document = read("a: &x {b: 1}\nc: *x\nd: &y 2\ne: *y\n&k f: 3\ng: {*k : 4}\n")
    assert document.data == {"a": {"b": 1}, "c": {"b": 1}, "d": 2, "e": 2, "f": 3, "g": {"f": 4}}
    assert document.data["a"] is not document.data["c"]
    assert document.spots["c",].value.label == "f.yaml:2:1"
    assert document.spots["e",].value.label == "f.yaml:4:4"


def test_a_tower_of_aliases_is_refused_early() -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    text = "\n".join(["a0: &a0 [1, 1]", *levels])
    assert "aliases repeat too much" in fatal(text)


def test_depth_through_aliases_counts() -> None:
    levels = [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, nodes.MAX_DEPTH + 1)]
    assert "aliases repeat too much" in fatal("\n".join(["a0: &a0 []", *levels]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "f.yaml:1:9: invalid YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow"),
        ("a:\n\t- 1", "f.yaml:2:1: invalid YAML: a tab; indent with spaces"),
        ("a: b: c", "f.yaml:1:5: invalid YAML: mapping values are not allowed here"),
        ("a: 'x\n\n\n", "f.yaml:4:1: invalid YAML: found unexpected end of stream (while scanning a quoted scalar, "),
        ("a: b\x07", "f.yaml:1:5: character U+0007 is not allowed in YAML"),
        ("é:\n  - \x00", "f.yaml:2:5: character U+0000 is not allowed in YAML"),
        ('a: "\\U00110000"', "f.yaml:1:2: invalid YAML: chr() arg not in range(0x110000)"),
        ("%YAML 1.0\n---\na: 1", "f.yaml:1:1: invalid YAML: version minor part can only be 2 or 1, got (1, 0)"),
        ("%YAML 1.19223372036854775808\n---\na: 1", "f.yaml:1:1: invalid YAML: version minor part can only be"),
        ("a: *x", "f.yaml:1:4: alias '*x' has no anchor '&x' before it"),
        ("a: &x [*x]", "f.yaml:1:8: alias '*x' stands inside the value it repeats"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document starts here; a spec is one document"),
        ("[" * 100_000, f"f.yaml:1:{nodes.MAX_DEPTH + 1}: nested more than {nodes.MAX_DEPTH} levels deep"),
        ("[" + "1, " * 20_000 + "]", "more than 10,000 values; this cannot be a spec"),
        ("#" * 200_001, "f.yaml:1:1: longer than 200,000 characters; this cannot be a spec"),
    ],
)
def test_a_text_that_cannot_be_read_on_is_one_message(text: str, message: str) -> None:
    assert message in fatal(text)


def test_the_deepest_nesting_allowed_is_read() -> None:
    depth = nodes.MAX_DEPTH
    innermost = value("[" * depth + "]" * depth)
    for _ in range(depth - 1):
        (innermost,) = innermost
    assert innermost == []


PIECES = st.sampled_from(
    [
        *(
            "a",
            "b: ",
            ": ",
            "- ",
            "? ",
            "\n",
            "\n  ",
            "\n    ",
            "[",
            "]",
            "{",
            "}",
            ",",
            " ",
            "#",
            "'",
            '"',
            "|",
            ">",
            "~",
        ),
        *("&x ", "*x", "!", "!!str ", "!<a> ", "!e!x ", "%YAML 1.1\n", "---", "...", "<<", "1e-3", "|2-\n", "%", "@"),
        *("\\", "\\U00110000", "\\ud800", "\t", "\r", "\x85", "\u2028", "\ufeff", "\x00", "é"),
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_whatever_the_text_only_a_spec_error_is_raised(text: str) -> None:
    with contextlib.suppress(SpecError):
        read(text)
