"""The configurations that come with the package, which the command line takes by their names."""

import difflib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""Where a wheel has them, and where a checkout does."""


def shipped_configs() -> dict[str, Path]:
    """Return the file of each configuration that comes with the package, by its name."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_file(config: str | Path) -> Path:
    """Return the file of a configuration, given by its path or by its name.

    Raises:
        ValueError: there is no such file, and no configuration of this name comes with the package.
    """
    path, shipped = Path(config).expanduser(), shipped_configs()
    if path.is_file():
        return path
    if str(config) in shipped:
        return shipped[str(config)]
    near = difflib.get_close_matches(path.stem, shipped, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"config {str(config)!r}: no such file; {hint}By name there are {', '.join(shipped)}"
    )
