"""Virtual environments of their own for the systems that tunesmith is measured beside."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

_FOLDER = Path(__file__).parent / ".venvs"
_REQUIREMENTS = {
    "ray": ["ray[tune]>=2,<3"],
    "ray-scale": ["ray[tune]>=2,<3", "-e", str(Path(__file__).parents[1])],
    "optuna": ["optuna>=5,<6"],
}


def python_of(system: str, given: str | None) -> str | None:
    """The interpreter to use: the given one, else that of `.venvs/<system>`, made if need be; None if it cannot be."""
    if given is not None:
        return given
    python = _FOLDER / system / "bin" / "python"
    done = _FOLDER / system / "complete"
    if done.exists():
        return str(python)
    print(f"Making {python.parent.parent} ({', '.join(_REQUIREMENTS[system])}) ...", file=sys.stderr)
    venv.create(_FOLDER / system, clear=True, with_pip=True)
    if not _has_installed(python, _REQUIREMENTS[system]):
        print(f"{system} cannot be installed here; its columns are left out.", file=sys.stderr)
        return None
    if system == "ray":
        _install_torch(python)
    done.touch()
    return str(python)


def _install_torch(python: Path) -> None:
    """The PyTorch of this interpreter for Ray's trials too; where CPU builds lie is looked into once, if reachable."""
    version = version_in(sys.executable, "torch")
    cpu = ["--extra-index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0"]
    if version is not None and not _has_installed(python, [f"torch=={version}", *cpu]):
        print("PyTorch cannot be installed for Ray; that cell is left out.", file=sys.stderr)


def _has_installed(python: Path, requirements: list[str]) -> bool:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    return subprocess.run(command, stdout=sys.stderr).returncode == 0


def version_in(python: str, package: str) -> str | None:
    """The package's version in that interpreter's environment; None where it is missing."""
    program = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    found = subprocess.run([python, "-c", program, package], capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None
