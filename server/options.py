"""What an option is: one declaration gives a typed field, a TOML key, an environment variable and a flag.

Pure: nothing here reads the environment, a file or the command line; `config.py` declares the options with
the functions below and `cli.py` brings the values.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

KIB, MIB, GIB = 1024, 1024**2, 1024**3

Number = TypeVar("Number", int, float)

_SIZE = re.compile(r"(\d{1,18})\s*(B|KiB|MiB|GiB)?", re.ASCII)
_FACTORS = {None: 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}

Value = str | int | float | bool | Path
"""What an option may hold."""

Parse = Callable[[object], Value]
"""Raw value (text from a flag or the environment, any TOML value from a file) to the option's own type.

Raises ValueError whose text ends the sentence "... is refused: ".
"""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting under all its names."""

    group: str
    name: str
    unit: str
    default: Value
    summary: str
    parse: Parse

    @property
    def key(self) -> str:
        """The key in the TOML file, with its table: ``limits.max_rooms``."""
        return f"{self.group}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable: ``ROOMFUL_MAX_ROOMS``."""
        return f"ROOMFUL_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The flag: ``--max-rooms``."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands alone, without a value."""
        return isinstance(self.default, bool)


def declared(group: str, settings: type[Any]) -> list[Option]:
    """The options that a dataclass made with the functions below declares, in its order."""
    return [_option(group, entry) for entry in fields(settings)]


def _option(group: str, entry: Field[Any]) -> Option:
    default: Any = entry.default
    return Option(group, entry.name, default=default, **entry.metadata)


# Each of the following stands as the default of a dataclass field. They return Any for the same reason
# as dataclasses.field(): the field's annotation is the type.


def text(default: str, summary: str, *, pattern: str = r".+", form: str = "text") -> Any:
    """A string that matches `pattern` in full; `form` says so in words."""
    return _setting(default, "text", summary, partial(_text, pattern=pattern, form=form))


def choice(default: str, options: Sequence[str], summary: str) -> Any:
    """One word of a fixed list."""
    return _setting(default, "|".join(options), summary, partial(_choice, options=tuple(options)))


def switch(summary: str) -> Any:
    """Off unless said."""
    return _setting(False, "true or false", summary, _switch)


def folder(default: str, summary: str) -> Any:
    """A path, relative to the working directory, with ``~`` for the home folder."""
    return _setting(Path(default), "path", summary, _folder)


def whole(default: int, summary: str, *, low: int, high: int = 10**9) -> Any:
    """A whole number within bounds, both included."""
    return _setting(default, "number", summary, partial(_whole, low=low, high=high))


def size(default: int, summary: str, *, low: int, high: int = 1024 * GIB) -> Any:
    """A number of bytes; text may end in KiB, MiB or GiB."""
    return _setting(default, "bytes", summary, partial(_size, low=low, high=high))


def seconds(default: float, summary: str, *, low: float, high: float) -> Any:
    """A finite number of seconds within bounds, both included."""
    return _setting(default, "seconds", summary, partial(_seconds, low=low, high=high))


def _setting(default: Value, unit: str, summary: str, parse: Parse) -> Any:
    return field(default=default, metadata={"unit": unit, "summary": summary, "parse": parse})


def _text(raw: object, *, pattern: str, form: str) -> str:
    if not isinstance(raw, str) or re.fullmatch(pattern, raw) is None:
        raise ValueError(f"expected {form}")
    return raw


def _choice(raw: object, *, options: tuple[str, ...]) -> str:
    if not isinstance(raw, str) or raw not in options:
        raise ValueError(f"expected {' or '.join(options)}")
    return raw


def _switch(raw: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, str) or raw.lower() not in known:
        raise ValueError("expected true or false")
    return known[raw.lower()]


def _folder(raw: object) -> Path:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ValueError("expected a path")
    return Path(raw).expanduser()


def _whole(raw: object, *, low: int, high: int) -> int:
    return _bounded(_integer(raw), low, high, f"expected a whole number from {low} to {high}")


def _size(raw: object, *, low: int, high: int) -> int:
    match = _SIZE.fullmatch(raw) if isinstance(raw, str) else None
    number = int(match[1]) * _FACTORS[match[2]] if match else _integer(raw)
    return _bounded(number, low, high, f"expected bytes from {spoken_size(low)} to {spoken_size(high)}")


def _seconds(raw: object, *, low: float, high: float) -> float:
    reason = f"expected seconds from {low:g} to {high:g}"
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise ValueError(reason)
    try:
        number = float(raw)
    except ValueError:
        raise ValueError(reason) from None
    if not math.isfinite(number):
        raise ValueError(reason)
    return _bounded(number, low, high, reason)


def _integer(raw: object) -> int | None:
    """The number, or None where `raw` is none. TOML's true is not 1, and Python's 1_0 is not 10."""
    if isinstance(raw, str):
        return int(raw) if re.fullmatch(r"-?[0-9]{1,18}", raw) else None
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def _bounded(number: Number | None, low: Number, high: Number, reason: str) -> Number:
    if number is None or not low <= number <= high:
        raise ValueError(reason)
    return number


def spoken_size(number: int) -> str:
    """Bytes in the largest unit that needs no fraction: 8388608 is ``8MiB``."""
    for unit in ("GiB", "MiB", "KiB"):
        if number and number % _FACTORS[unit] == 0:
            return f"{number // _FACTORS[unit]}{unit}"
    return str(number)


def spoken(option: Option, value: Value) -> str:
    """`value` as a TOML file says it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if option.unit == "bytes" and isinstance(value, int):
        return f'"{spoken_size(value)}"'
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else json.dumps(str(value))  # JSON's escapes are TOML's too
