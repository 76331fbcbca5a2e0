import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.varint import Malformed, write_varbytes, write_varuint
from roomful.presence import awareness as module
from roomful.presence.awareness import (
    Awareness,
    Entry,
    check_state,
    decode_entries,
    encode_entries,
    gone_entry,
)
from tests.presence.entries import entry, raw_entry

ANN, BOB = "Ann's session", "Bob's session"
entry_lists = st.lists(
    st.builds(raw_entry, st.integers(0, 2**53 - 1), st.integers(0, 2**32 - 1), st.text(max_size=40)),
    max_size=5,
)


def decode(data: bytes, most: int = 10, largest: int = 1_000) -> list[Entry]:
    return decode_entries(data, most=most, largest=largest)


def reason(data: bytes, most: int = 10, largest: int = 1_000) -> str:
    with pytest.raises(Malformed) as caught:
        decode(data, most, largest)
    return caught.value.reason


def fault(state: bytes) -> str:
    """Why a state is refused."""
    with pytest.raises(Malformed) as caught:
        check_state(raw_state(state))
    return caught.value.reason


def raw_state(state: bytes) -> Entry:
    (decoded,) = decode(b"\x01\x05\x02" + write_varbytes(state), largest=100_000)
    return decoded


@pytest.fixture
def awareness() -> Awareness:
    return Awareness(clients_per_session=3)


@given(entry_lists)
def test_entries_read_back_as_the_bytes_they_came_in(entries: list[Entry]) -> None:
    assert decode(encode_entries(entries)) == entries


def test_bytes_in_an_unusual_form_are_kept_as_they_are() -> None:
    unusual = b"\x01" + b"\x81\x00" + b"\x82\x00" + b"\x82\x00{}"
    (decoded,) = decode(unusual)
    assert (decoded.client, decoded.clock, decoded.raw) == (1, 2, unusual[1:])
    assert encode_entries([decoded]) == unusual


@given(entry_lists.filter(bool), st.data())
def test_no_proper_beginning_of_a_message_is_one(entries: list[Entry], data: st.DataObject) -> None:
    encoded = encode_entries(entries)
    assert reason(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) == "truncated"


def test_nothing_may_follow_the_entries() -> None:
    assert reason(encode_entries([entry(1, 1, {})]) + b"\x00") == "trailing"


def test_more_entries_than_are_taken_are_refused_before_they_are_read() -> None:
    assert len(decode(encode_entries([entry(1, 1, {})] * 3), most=3)) == 3
    assert reason(b"\x04", most=3) == "count"


def test_a_state_has_a_largest_size() -> None:
    state = {"a": "x" * 10}
    size = len(entry(1, 1, state).state) - 1
    assert decode(encode_entries([entry(1, 1, state)]), largest=size)
    assert reason(encode_entries([entry(1, 1, state)]), largest=size - 1) == "limit"


def test_a_clock_fits_32_bits() -> None:
    assert decode(encode_entries([entry(1, 2**53 - 1, {})]))


def test_a_client_id_fits_53_bits() -> None:
    assert reason(b"\x01" + b"\xff" * 7 + b"\x1f" + b"\x01\x02{}") == "varint"


def test_gone_is_said_with_null() -> None:
    gone = gone_entry(300, 7)
    assert gone == entry(300, 7, None)
    assert gone.gone
    assert not entry(300, 7, {}).gone


@pytest.mark.parametrize(
    "state",
    [
        b"null",
        b"{}",
        b' {"a": [1, -0, 2.5e-3, true, false, null, "\\u00e9\\ud800"]}\n',
        '{"é": "漢字 😀"}'.encode(),
        b'{"a":' * 64 + b"1" + b"}" * 64,
        b'{"open": "' + b"[" * 500 + b'", "closed": "' + b"]" * 500 + b'"}',
        b'{"a": 1, "a": 2}',
    ],
)
def test_a_state_is_an_object_or_null(state: bytes) -> None:
    check_state(raw_state(state))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (b"", "json"),
        (b"nul", "json"),
        (b" null", "json"),
        (b"{} {}", "json"),
        (b"{'a': 1}", "json"),
        (b'{"a": 01}', "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": -Infinity}', "json"),
        (b'{"a": "\t"}', "json"),
        (b"[]", "json"),
        (b'"text"', "json"),
        (b"5", "json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "json"),
        ("{}".encode("utf-16-le"), "json"),
        ("{}".encode("utf-32-be"), "json"),
        (b"\xef\xbb\xbf{}", "json"),
        (b'{"a": "\xed\xa0\x80"}', "json"),
        (b'{"a": "\xff"}', "json"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "depth"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "depth"),
        (b'{"a": "' + b"]" * 900 + b'", "b": ' + b"[" * 900 + b"]" * 900 + b"}", "depth"),
        (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "depth"),
    ],
)
def test_a_state_that_some_parser_does_not_take_is_refused(state: bytes, expected: str) -> None:
    assert fault(state) == expected


def test_nobody_is_here_at_first(awareness: Awareness) -> None:
    assert (len(awareness), awareness.entries()) == (0, [])
    assert awareness.leave(ANN) == []


def test_a_first_state_is_news_and_its_client_is_asked_to_say_it_again(awareness: Awareness) -> None:
    """Peers may know its clock from before; stock clients that hear they are gone raise it."""
    said = entry(1, 3, {"name": "Ann"})
    assert awareness.apply(ANN, [said]) == ([said], [gone_entry(1, 3)])
    again = entry(1, 4, {"name": "Ann"})
    assert awareness.apply(ANN, [again]) == ([again], [])
    assert awareness.entries() == [again]
    assert len(awareness) == 1


def test_a_first_state_at_clock_0_is_news_to_nobody(awareness: Awareness) -> None:
    assert awareness.apply(ANN, [entry(1, 0, {})]) == ([], [])
    assert len(awareness) == 0


def test_only_a_higher_clock_replaces_a_state(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {"a": 1})])
    assert awareness.apply(ANN, [entry(1, 4, {"a": 2}), entry(1, 5, {"a": 2})]) == ([], [])
    newer = entry(1, 6, {"a": 2})
    assert awareness.apply(ANN, [newer]) == ([newer], [])
    assert awareness.entries() == [newer]


@pytest.mark.parametrize("clock", [5, 6])
def test_a_client_leaves_at_its_clock_or_a_higher_one(awareness: Awareness, clock: int) -> None:
    awareness.apply(ANN, [entry(1, 5, {})])
    gone = entry(1, clock, None)
    assert awareness.apply(ANN, [gone]) == ([gone], [])
    assert len(awareness) == 0


def test_a_client_does_not_leave_at_a_lower_clock(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {})])
    assert awareness.apply(ANN, [entry(1, 4, None)]) == ([], [])
    assert len(awareness) == 1


def test_that_a_stranger_has_left_is_no_news(awareness: Awareness) -> None:
    assert awareness.apply(ANN, [entry(1, 5, None)]) == ([], [])
    said = entry(1, 1, {})
    assert awareness.apply(BOB, [said])[0] == [said], "nor does it keep the stranger out"


def test_nobody_speaks_for_the_client_of_another_session(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {"name": "Ann"})])
    echoes = [entry(1, 5, {"name": "Ann"}), entry(1, 9, {"name": "Not Ann"}), entry(1, 9, None)]
    assert awareness.apply(BOB, echoes) == ([], [])
    assert awareness.entries() == [entry(1, 5, {"name": "Ann"})]


def test_a_session_that_ends_takes_its_clients_along_at_their_clocks(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {}), entry(2, 7, {})])
    awareness.apply(BOB, [entry(3, 1, {})])
    assert sorted(awareness.leave(ANN)) == [gone_entry(1, 5), gone_entry(2, 7)]
    assert awareness.entries() == [entry(3, 1, {})]
    assert awareness.leave(ANN) == []


def test_a_client_that_said_goodbye_is_not_announced_again(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {}), entry(1, 6, None)])
    assert awareness.leave(ANN) == []


def test_a_client_that_comes_back_too_early_is_told_that_it_is_gone(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {})])
    awareness.leave(ANN)
    assert awareness.apply(BOB, [entry(1, 5, {})]) == ([], [gone_entry(1, 5)])
    assert len(awareness) == 0
    back = entry(1, 6, {})
    assert awareness.apply(BOB, [back])[0] == [back]


def test_a_client_may_move_to_another_session_once_it_is_gone(awareness: Awareness) -> None:
    awareness.apply(ANN, [entry(1, 5, {}), entry(1, 5, None), entry(2, 1, {})])
    moved = entry(1, 6, {})
    assert awareness.apply(BOB, [moved])[0] == [moved]
    assert awareness.leave(ANN) == [gone_entry(2, 1)]
    assert awareness.leave(BOB) == [gone_entry(1, 6)]


def test_who_has_left_lately_and_is_not_back_is_known(awareness: Awareness) -> None:
    assert awareness.departed() == []
    awareness.apply(ANN, [entry(1, 5, {}), entry(2, 7, {}), entry(2, 8, None)])
    awareness.leave(ANN)
    assert awareness.departed() == [gone_entry(2, 8), gone_entry(1, 5)]
    awareness.apply(BOB, [entry(1, 6, {})])
    assert awareness.departed() == [gone_entry(2, 8)]


def test_a_session_speaks_for_a_limited_number_of_clients(awareness: Awareness) -> None:
    with pytest.raises(Malformed) as caught:
        awareness.apply(ANN, [entry(client, 1, {}) for client in range(1, 5)])
    assert caught.value.reason == "limit"
    assert len(awareness) == 3, "what stood before has been taken"
    awareness.apply(ANN, [entry(1, 2, None), entry(4, 1, {})])
    assert {each.client for each in awareness.entries()} == {2, 3, 4}


def test_a_session_that_was_refused_its_first_client_leaves_nothing_behind() -> None:
    awareness = Awareness(clients_per_session=0)
    with pytest.raises(Malformed):
        awareness.apply(ANN, [entry(1, 1, {})])
    assert awareness.leave(ANN) == []


@pytest.mark.parametrize("known", [False, True])
def test_a_state_is_checked_when_it_is_news(awareness: Awareness, known: bool) -> None:
    if known:
        awareness.apply(ANN, [entry(1, 1, {})])
    with pytest.raises(Malformed):
        awareness.apply(ANN, [entry(1, 2, [])])
    awareness.apply(BOB, [entry(1, 0, [])])


def test_who_has_left_is_remembered_for_a_while(
    awareness: Awareness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED_GONE", 2)
    for client in (1, 2, 1, 3):
        awareness.apply(ANN, [entry(client, 9 + client, {}), entry(client, 9 + client, None)])
        if client == 2:
            awareness.apply(ANN, [entry(1, 20, {}), entry(1, 20, None)])
    assert awareness.apply(ANN, [entry(1, 20, {})]) == ([], [gone_entry(1, 20)])
    assert awareness.apply(ANN, [entry(3, 12, {})]) == ([], [gone_entry(3, 12)])
    forgotten = entry(2, 1, {})
    assert awareness.apply(ANN, [forgotten])[0] == [forgotten]


def test_the_length_of_a_client_id_is_its_own_matter() -> None:
    assert (
        gone_entry(2**53 - 1, 2**32 - 1).raw
        == write_varuint(2**53 - 1) + write_varuint(2**32 - 1) + b"\x04null"
    )


def test_a_clock_may_not_leap_so_that_its_client_can_still_be_answered(awareness: Awareness) -> None:
    highest = 5 + module._LONGEST_LEAP
    awareness.apply(ANN, [entry(1, 5, {})])
    with pytest.raises(Malformed) as caught:
        awareness.apply(ANN, [entry(1, highest + 1, {})])
    assert caught.value.reason == "clock"
    news, _ = awareness.apply(ANN, [entry(1, highest, {})])
    assert [each.clock for each in news] == [highest]
