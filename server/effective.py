"""One configuration from flags, environment variables and a file, with the origin of each value.

Pure: `load` takes what `cli.py` has read. A flag wins over the environment, the environment over the file,
the file over the default.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .config import GROUPS, OPTIONS, Config, contradictions
from .options import Option, Value, spoken


class ConfigError(Exception):
    """The configuration is refused; `problems` holds one line for each wrong value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Effective:
    """A configuration and where each value of it came from, by `Option.key`."""

    config: Config
    origins: Mapping[str, str]

    def value(self, option: Option) -> Value:
        """What `option` is set to."""
        value: Value = getattr(getattr(self.config, option.group), option.name)
        return value


def load(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object] | None = None,
    path: str = "",
) -> Effective:
    """The configuration that flags, environment and file give together.

    `flags` goes by `Option.name` and holds only what was given; `file` is the parsed TOML document and
    `path` its name in messages. Raises ConfigError with every problem at once: a wrong value, an unknown
    key, a combination that is not safe.
    """
    file = file or {}
    problems = list(_unknown(file, path))
    groups: dict[str, dict[str, Value]] = {group: {} for group in GROUPS}
    origins: dict[str, str] = {}
    for option in OPTIONS:
        origin, raw = _given(option, flags, environment, file, path)
        origins[option.key] = origin
        try:
            groups[option.group][option.name] = option.default if raw is None else option.parse(raw)
        except ValueError as reason:
            problems.append(f"{option.key} from {origin}: {reason}, got {raw!r}")
    if problems:
        raise ConfigError(problems)
    config = Config(**{group: GROUPS[group](**values) for group, values in groups.items()})
    if problems := list(contradictions(config, origins)):
        raise ConfigError(problems)
    return Effective(config, origins)


def render(effective: Effective) -> Iterator[str]:
    """The lines of a TOML file that says the same, each value with its origin as a comment."""
    for group in GROUPS:
        yield f"[{group}]"
        for option in OPTIONS:
            if option.group == group:
                setting = f"{option.name} = {spoken(option, effective.value(option))}"
                yield f"{setting:<48} # {effective.origins[option.key]}"
        yield ""


def _given(
    option: Option,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object],
    path: str,
) -> tuple[str, object]:
    if option.name in flags:
        return f"flag {option.flag}", flags[option.name]
    if option.variable in environment:
        return f"environment variable {option.variable}", environment[option.variable]
    table = file.get(option.group)
    if isinstance(table, Mapping) and option.name in table:
        return f"file {path}", table[option.name]
    return "default", None


def _unknown(file: Mapping[str, object], path: str) -> Iterator[str]:
    known = [option.key for option in OPTIONS]
    for group, table in file.items():
        if group not in GROUPS:
            yield f"{group} from file {path}: no such {_kind(table)}{_nearest(group, [*GROUPS, *known])}"
        elif not isinstance(table, Mapping):
            yield f"{group} from file {path}: expected a table, [{group}], got {table!r}"
        else:
            for name in table:
                if (key := f"{group}.{name}") not in known:
                    yield f"{key} from file {path}: no such option{_nearest(key, known)}"


def _kind(entry: object) -> str:
    return "table" if isinstance(entry, Mapping) else "option"


def _nearest(name: str, known: list[str]) -> str:
    """A hint: the same name in another table, or else the most alike."""
    leaf = name.rpartition(".")[2]
    alike = [key for key in known if key.rpartition(".")[2] == leaf] or difflib.get_close_matches(
        name, known, n=1
    )
    return f"; did you mean {alike[0]}?" if alike else ""
