"""Numbers in YAML: what looks like one is one, and what only begins like one is text."""

import pytest

from xkd.plan.yaml_reader import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("2.5E+3", 2500.0),
        ("-3e2", -300.0),
        ("198e51c4", "198e51c4"),  # a digest
        ("1e-4 at first", "1e-4 at first"),
        ("3e", "3e"),
    ],
)
def test_only_a_whole_number_is_a_number(text: str, expected: object) -> None:
    assert parse(f"key: {text}", "here") == {"key": expected}
