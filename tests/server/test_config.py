"""Options: names, precedence, refusals, and the rules between values."""

import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from roomful.server.config import GROUPS, OPTIONS, Config
from roomful.server.effective import ConfigError, Effective, load, render
from roomful.server.options import GIB, KIB, MIB, Option, spoken, spoken_size


def option(name: str) -> Option:
    (found,) = [option for option in OPTIONS if option.name == name]
    return found


def problem(**given: object) -> str:
    """The one complaint about these flags."""
    with pytest.raises(ConfigError) as caught:
        load(given, {})
    (only,) = caught.value.problems
    return only


def complaints(file: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load({}, {}, file, "room.toml")
    return list(caught.value.problems)


def test_the_defaults_are_the_same_with_and_without_loading() -> None:
    assert load({}, {}).config == Config()


def test_the_defaults_are_themselves_allowed_values() -> None:
    for entry in OPTIONS:
        raw = str(entry.default) if isinstance(entry.default, Path) else entry.default
        assert entry.parse(raw) == entry.default


def test_a_configuration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().listen.port = 1  # type: ignore[misc]


def test_an_option_has_one_name_in_three_spellings() -> None:
    rooms = option("max_rooms")
    assert (rooms.key, rooms.variable, rooms.flag) == ("limits.max_rooms", "ROOMFUL_MAX_ROOMS", "--max-rooms")


def test_no_two_options_share_a_flag() -> None:
    assert len({entry.flag for entry in OPTIONS}) == len(OPTIONS)


def test_every_field_of_every_group_is_an_option_with_words() -> None:
    declared = {f"{group}.{entry.name}" for group, settings in GROUPS.items() for entry in fields(settings)}
    assert {entry.key for entry in OPTIONS} == declared
    assert all(entry.summary and entry.unit for entry in OPTIONS)


def test_a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() -> None:
    file: dict[str, object] = {"limits": {"max_rooms": 1, "max_connections": 1, "max_message_bytes": 2048}}
    environment = {"ROOMFUL_MAX_ROOMS": "2", "ROOMFUL_MAX_CONNECTIONS": "2"}
    effective = load({"max_rooms": "3"}, environment, file, "room.toml")
    limits = effective.config.limits
    assert (limits.max_rooms, limits.max_connections, limits.max_message_bytes) == (3, 2, 2048)
    assert limits.outbox_bytes == Config().limits.outbox_bytes
    assert effective.origins["limits.max_rooms"] == "flag --max-rooms"
    assert effective.origins["limits.max_connections"] == "environment variable ROOMFUL_MAX_CONNECTIONS"
    assert effective.origins["limits.max_message_bytes"] == "file room.toml"
    assert effective.origins["limits.outbox_bytes"] == "default"


def test_other_variables_of_the_environment_are_none_of_our_business() -> None:
    assert load({}, {"ROOMFUL_SERVICE_HOST": "10.0.0.1", "PATH": "/bin"}).config == Config()


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("port", 65535, 65535),
        ("authorize", "my.app:authorize", "my.app:authorize"),
        ("data", "/var/lib/roomful", Path("/var/lib/roomful")),
        ("data", "~/rooms", Path("~/rooms").expanduser()),
        ("durability", "process", "process"),
        ("max_message_bytes", "2 MiB", 2 * MIB),
        ("max_message_bytes", "4096", 4096),
        ("max_message_bytes", "4096B", 4096),
        ("max_message_bytes", 4096, 4096),
        ("worker_memory_bytes", "2GiB", 2 * GIB),
        ("pre_auth_seconds", "0.5", 0.5),
        ("pre_auth_seconds", 3, 3.0),
        ("flush_window", "0", 0.0),
        ("allow_anonymous", True, True),
        ("allow_anonymous", "1", True),
        ("allow_anonymous", "No", False),
    ],
)
def test_a_value_is_understood(name: str, raw: object, expected: object) -> None:
    assert option(name).parse(raw) == expected


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("host", "", "expected text"),
        ("host", 1, "expected text"),
        ("port", "x", "expected a whole number from 0 to 65535"),
        ("port", "65536", "expected a whole number from 0 to 65535"),
        ("port", -1, "expected a whole number from 0 to 65535"),
        ("port", "1_0", "expected a whole number from 0 to 65535"),
        ("port", 80.0, "expected a whole number from 0 to 65535"),
        ("port", True, "expected a whole number from 0 to 65535"),
        ("port", "tcp://10.0.0.1:8080", "expected a whole number from 0 to 65535"),
        ("authorize", "my.app", "expected module:callable"),
        ("authorize", "my app:authorize", "expected module:callable"),
        ("data", "", "expected a path"),
        ("data", "a\0b", "expected a path"),
        ("data", 3, "expected a path"),
        ("durability", "disk", "expected machine or process"),
        ("durability", ["machine"], "expected machine or process"),
        ("max_message_bytes", "8MB", "expected bytes from 1KiB to 1GiB"),
        ("max_message_bytes", "1023", "expected bytes from 1KiB to 1GiB"),
        ("max_message_bytes", 2048.0, "expected bytes from 1KiB to 1GiB"),
        ("max_message_bytes", "9" * 5000, "expected bytes from 1KiB to 1GiB"),
        ("stall_seconds", "soon", "expected seconds from 1 to 3600"),
        ("stall_seconds", "nan", "expected seconds from 1 to 3600"),
        ("stall_seconds", float("inf"), "expected seconds from 1 to 3600"),
        ("stall_seconds", 0.5, "expected seconds from 1 to 3600"),
        ("stall_seconds", True, "expected seconds from 1 to 3600"),
        ("stall_seconds", None, "expected seconds from 1 to 3600"),
        ("allow_anonymous", "maybe", "expected true or false"),
        ("allow_anonymous", 1, "expected true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(name: str, raw: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        option(name).parse(raw)


def test_a_refusal_says_which_option_from_where_and_why() -> None:
    assert problem(port="x") == (
        "listen.port from flag --port: expected a whole number from 0 to 65535, got 'x'"
    )
    with pytest.raises(
        ConfigError, match=r"limits\.max_rooms from environment variable ROOMFUL_MAX_ROOMS: expected"
    ):
        load({}, {"ROOMFUL_MAX_ROOMS": ""})
    assert complaints({"limits": {"max_rooms": "many"}}) == [
        "limits.max_rooms from file room.toml: expected a whole number from 1 to 1000000000, got 'many'"
    ]


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"port": "x"}, {"ROOMFUL_FOLD_WORKERS": "none"}, {"timing": {"flush_window": "x"}}, "room.toml")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (
            {"limits": {"max_romms": 1}},
            "limits.max_romms from file room.toml: no such option; did you mean limits.max_rooms?",
        ),
        (
            {"limits": {"port": 1}},
            "limits.port from file room.toml: no such option; did you mean listen.port?",
        ),
        ({"port": 1}, "port from file room.toml: no such option; did you mean listen.port?"),
        ({"limit": {}}, "limit from file room.toml: no such table; did you mean limits?"),
        ({"zebra": {}}, "zebra from file room.toml: no such table"),
        ({"limits": {"zzzzzzz": 1}}, "limits.zzzzzzz from file room.toml: no such option"),
        ({"limits": 3}, "limits from file room.toml: expected a table, [limits], got 3"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    file: dict[str, object], complaint: str
) -> None:
    assert complaints(file) == [complaint]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_without_authorize_the_server_listens_on_loopback(host: str) -> None:
    assert load({"host": host}, {}).config.listen.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org"])
def test_without_authorize_any_other_address_must_be_meant(host: str) -> None:
    complaint = problem(host=host)
    assert complaint.startswith(f"listen.host from flag --host: '{host}' is reachable from other machines")
    assert "--allow-anonymous" in complaint
    assert load({"host": host, "allow_anonymous": True}, {}).config.listen.host == host
    assert load({"host": host, "authorize": "app:authorize"}, {}).config.listen.host == host


def test_several_workers_without_redis_are_a_contradiction() -> None:
    with pytest.raises(ConfigError) as refused:
        load({"workers": "2"}, {})
    (complaint,) = refused.value.problems
    assert complaint.startswith("listen.workers from flag --workers: 2 processes can't share")
    assert "--redis" in complaint
    assert load({"workers": "2", "redis": "redis://localhost"}, {}).config.listen.workers == 2


def test_presence_that_would_not_fit_a_frame_is_a_contradiction() -> None:
    assert problem(max_presence_bytes="16KiB") == (
        "limits.presence_frame_bytes from default: 16KiB do not hold one person, whom"
        " limits.max_presence_bytes (16KiB from flag --max-presence-bytes) lets take 19616 bytes"
    )


def test_a_message_larger_than_a_document_is_a_contradiction() -> None:
    assert problem(max_document_bytes="1MiB") == (
        "limits.max_document_bytes from flag --max-document-bytes: 1MiB is less than"
        " limits.max_message_bytes (8MiB from default)"
    )


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (
            "s3://key:secret@bucket",
            "credentials belong in the environment (AWS_ACCESS_KEY_ID and so on), not here",
        ),
        ("s3://bucket?fast=1", "a bucket has a region and an endpoint, and no fast"),
    ],
)
def test_a_snapshot_store_that_is_none_is_refused_without_its_secrets(store: str, reason: str) -> None:
    origin = "storage.snapshot_store from flag --snapshot-store"
    assert problem(redis="redis://127.0.0.1", snapshot_store=store) == f"{origin}: {reason}"


def test_a_snapshot_store_without_redis_is_a_contradiction() -> None:
    assert problem(snapshot_store="file:///rooms") == (
        "storage.snapshot_store from flag --snapshot-store:"
        " only documents in Redis go there, and storage.redis is empty"
    )
    loaded = load({"snapshot_store": "file:///rooms", "redis": "redis://127.0.0.1"}, {})
    assert loaded.config.storage.snapshot_store == "file:///rooms"


def test_a_bucket_without_what_it_needs_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    complaint = problem(snapshot_store="s3://bucket", redis="redis://127.0.0.1")
    assert complaint.endswith("it needs what is not installed; pip install 'roomful[s3]'")


def test_the_effective_configuration_reads_back_as_the_same_configuration() -> None:
    flags = {"data": 'a "quoted" \\ é folder', "port": "0", "allow_anonymous": True, "flush_window": "0.025"}
    first = load(flags, {"ROOMFUL_MAX_MESSAGE_BYTES": "1500"})
    again = load({}, {}, tomllib.loads("\n".join(render(first))), "printed.toml")
    assert again.config == first.config
    assert set(again.origins.values()) == {"file printed.toml"}


def test_the_effective_configuration_names_each_origin() -> None:
    lines = list(render(load({"port": "9"}, {})))
    assert lines[0] == "[listen]"
    assert [line.split(None, 3) for line in lines if line.startswith(("host", "port"))] == [
        ["host", "=", '"127.0.0.1"', "# default"],
        ["port", "=", "9", "# flag --port"],
    ]


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (1000, "1000"), (KIB, "1KiB"), (1536, "1536"), (8 * MIB, "8MiB"), (2 * GIB, "2GiB")],
)
def test_sizes_are_spoken_in_the_largest_whole_unit(number: int, words: str) -> None:
    assert spoken_size(number) == words


def test_an_effective_value_is_found_by_its_option() -> None:
    effective = Effective(Config(), {})
    assert effective.value(option("max_rooms")) == 10_000
    assert spoken(option("max_rooms"), effective.value(option("max_rooms"))) == "10000"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("", "roomful-data"),
        ("redis://ann:secret@h:1/2", "redis://h:1/2"),
        ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_where_documents_are_kept_is_said_without_passwords(address: str, shown: str) -> None:
    assert load({"redis": address}, {}).config.storage.place == shown


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, "machine"),
        ({"durability": "process"}, "process"),
        ({"redis": "redis://h"}, "redis"),
        ({"redis": "redis://h", "redis_replicas": "2"}, "redis+2"),
    ],
)
def test_what_an_acknowledgement_promises_has_a_name(given: dict[str, object], level: str) -> None:
    assert load(given, {}).config.storage.level == level
