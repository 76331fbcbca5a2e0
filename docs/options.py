"""Write the options table of OPERATIONS.md from the option table of the server; `make format` runs it."""

from itertools import groupby
from pathlib import Path

from roomful.server.config import GROUPS, OPTIONS
from roomful.server.options import spoken

PAGE = Path(__file__).with_name("OPERATIONS.md")
START, END = "<!-- options: written by docs/options.py -->\n", "<!-- end of options -->\n"


def table() -> str:
    """The table as Markdown, one heading for each group."""
    lines: list[str] = []
    for group, options in groupby(OPTIONS, key=lambda option: option.group):
        lines += [f"### [{group}]", "", GROUPS[group].__doc__ or "", ""]
        lines += ["| key, flag, variable | default | unit | what it does |", "| --- | --- | --- | --- |"]
        for option in options:
            names = f"`{option.name}` `{option.flag}` `{option.variable}`"
            unit = option.unit.replace("|", " or ")
            lines.append(f"| {names} | `{spoken(option, option.default)}` | {unit} | {option.summary} |")
        lines.append("")
    return "\n".join(lines)


def rewritten(page: str) -> str:
    """`page` with a fresh table between the two markers."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
