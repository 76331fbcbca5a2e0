"""Make the flat folders importable as ``roomful.*`` in an editable install.

Wheels map ``server/`` to ``roomful/server/`` and so on (pyproject.toml). An editable install cannot
rewrite paths, so this hook puts relative links under ``.links/roomful/`` and the install points there.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LinkFlatFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before each build; acts only for editable ones."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if version != "editable":
            return
        namespace = Path(self.root, ".links", "roomful")
        namespace.mkdir(parents=True, exist_ok=True)
        for package in ("server", "crdt", "presence"):
            link = namespace / package
            if not link.is_symlink():
                link.symlink_to(Path("..", "..", package), target_is_directory=True)
