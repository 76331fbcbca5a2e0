"""The docs say what the code does, where a machine can tell."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from roomful.server.config import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")])


def options_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("options_script", ROOT / "docs" / "options.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_options_table_is_that_of_the_server() -> None:
    page = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8")
    assert options_script().rewritten(page) == page, "run: make format"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_a_page_names_as_flags_exist(page: Path) -> None:
    known = {option.flag for option in OPTIONS} | {"--config", "--no-allow-anonymous"}
    for command in re.findall(r"roomful (?:serve|check-config)[^\n`]*", page.read_text("utf-8")):
        assert set(re.findall(r"--[a-z][a-z-]*", command)) <= known, command
