"""The codes, and what y-websocket 3.1 makes of them (docs/PROTOCOL.md, Close codes)."""

import re
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode, Refused

PROTOCOL = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
PERMANENT = {
    "MALFORMED", "FORBIDDEN", "BAD_ROOM", "NOT_SPOKEN", "LOGIN_TIMEOUT", "DOCUMENT_FULL",
    "TOO_MANY_DOCUMENTS",
}  # fmt: skip


def test_only_what_trying_again_cannot_help_is_permanent() -> None:
    assert {code.name for code in CloseCode if code.permanent} == PERMANENT


@pytest.mark.parametrize("code", CloseCode, ids=lambda code: code.name)
def test_every_code_may_be_sent(code: CloseCode) -> None:
    reserved = {1004, 1005, 1006, 1015}
    assert (1000 <= code <= 1014 and code not in reserved) or 4000 <= code <= 4999


@pytest.mark.parametrize("taken", [4205, 4401])
def test_codes_that_mean_something_else_elsewhere_are_left_alone(taken: int) -> None:
    assert taken not in set(CloseCode)


def test_the_protocol_page_lists_every_code_by_its_name() -> None:
    rows = re.findall(r"^\| (\d{4}) \| ([A-Z_]+) \|", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in CloseCode]


def test_a_refusal_carries_its_code_and_its_words() -> None:
    refused = Refused(CloseCode.FULL, "the room is full")
    assert (refused.code, str(refused)) == (CloseCode.FULL, "the room is full")
