"""What is shipped: the flat folders, all of them, as one package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("server", "crdt", "presence")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built as users get it: from the sdist, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder)
    (sdist,) = folder.glob("*.tar.gz")
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *quiet, sdist)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    """Every file under version control or, while somebody works, about to be."""
    committed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS).splitlines()
    assert len(committed) > len(FOLDERS)
    packed = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(packed) == sorted(f"roomful/{name}" for name in committed)


def test_each_package_is_marked_as_typed() -> None:
    assert all((ROOT / folder / "py.typed").exists() for folder in FOLDERS)


def test_the_wheel_names_its_licence_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (information,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert f"{information}/licenses/LICENSE" in archive.namelist()
    assert "roomful = roomful.server.cli:main" in archive.read(f"{information}/entry_points.txt").decode()


def test_lock_files_name_no_registry_host() -> None:
    locks = [name for name in run("git", "ls-files").splitlines() if name.endswith("package-lock.json")]
    for name in locks:
        assert '"resolved"' not in (ROOT / name).read_text("utf-8"), name
