"""What it took to make a run, as HTML: seconds per stage, rows that failed, versions."""

from collections.abc import Mapping, Sequence
from html import escape

from qaclims_ray.run.artifact import ERRORS, Artifact, Manifest
from qaclims_ray.run.tables import read_table

_NUMBERS = ("rows", "errors", "seconds", "rows/s")


def stage_table(manifests: Mapping[str, Manifest], uris: Mapping[str, str], own: str) -> str:
    """A row per artifact with its counts and seconds.

    Args:
        manifests: Completion markers, in the order in which the artifacts are made.
        uris: Where each lies.
        own: URI of the run; what lies elsewhere is marked as another run's.
    """
    longest = max((manifest["seconds"] for manifest in manifests.values()), default=0.0)
    rows = "".join(
        _stage(name, manifest, longest, None if uris[name].startswith(f"{own}/") else uris[name])
        for name, manifest in manifests.items()
    )
    heads = "".join(f'<th class="number">{title}</th>' for title in _NUMBERS)
    return (
        f'<div class="wide"><table><thead><tr><th>artifact</th>{heads}<th></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def total_seconds(manifests: Mapping[str, Manifest]) -> str:
    """A sentence on the seconds of all stages."""
    total = sum(manifest["seconds"] for manifest in manifests.values())
    return (
        f'<p class="lead">{total:,.0f} s in all, start-up of each stage included. Rows of a '
        "training are the images that it saw.</p>"
    )


def failed_rows(target: Artifact) -> list[tuple[str, str]]:
    """Keys and reasons of the rows of an artifact that failed."""
    errors = Artifact(target.name, f"{target.uri}/{ERRORS}", target.recipe)
    if not errors.shards():
        return []
    return list(zip(*(column.to_pylist() for column in read_table(errors).columns), strict=True))


def error_list(name: str, errors: Sequence[tuple[str, str]], num_shown: int) -> str:
    """The rows of an artifact that failed, with their reasons, the first `num_shown` of them."""
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(reason)}</td></tr>"
        for key, reason in errors[:num_shown]
    )
    rest = f"<p>and {len(errors) - num_shown:,} more</p>" if len(errors) > num_shown else ""
    table = f'<table class="failed"><tbody>{rows}</tbody></table>'
    return f"<h3>{escape(name)}</h3>{table}{rest}"


def versions(manifests: Mapping[str, Manifest]) -> str:
    """A sentence on the versions that made the artifacts."""
    used: dict[str, set[str]] = {}
    for manifest in manifests.values():
        for package, version in manifest["versions"].items():
            used.setdefault(package, set()).add(version)
    listed = (f"{package} {', '.join(sorted(found))}" for package, found in used.items())
    return f'<p class="lead">Made with {escape("; ".join(listed))}.</p>' if used else ""


def _stage(name: str, manifest: Manifest, longest: float, elsewhere: str | None) -> str:
    seconds = manifest["seconds"]
    numbers = (
        f"{manifest['rows']:,}",
        f"{manifest['errors']:,}",
        f"{seconds:,.1f}",
        f"{manifest['rows'] / max(seconds, 0.1):,.1f}",
    )
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    place = "" if elsewhere is None else f" <small>taken from {escape(elsewhere)}</small>"
    share = 100 * seconds / max(longest, 0.1)
    return (
        f"<tr><td>{escape(name)}{place}</td>{cells}"
        f'<td class="time"><i style="width:{share:.1f}%"></i></td></tr>'
    )
