"""Making an artifact: the frame of every stage, and the check of what was made."""

import logging
import time
from collections.abc import Callable, Sequence

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import COMPLETE, ERRORS, ROWS, Artifact, artifact, own_artifact
from qaclims_ray.run.blocks import num_done
from qaclims_ray.run.contents import check_digests, check_sizes
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.lease import lease
from qaclims_ray.run.lineage import check_lineage, identities
from qaclims_ray.run.manifest import Built, Manifest
from qaclims_ray.run.recorded import record
from qaclims_ray.run.tables import frequent_reasons, read_errors
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import remove

log = logging.getLogger(__name__)


def make(
    experiment: Experiment,
    name: str,
    build: Callable[[Artifact], Built],
    overwrite: bool,
    reopen: Callable[[Artifact], None] | None = None,
    costly: Sequence[str] = ROWS,
    rescue: Callable[[Artifact], object] | None = None,
) -> str:
    """Make an artifact unless it is complete; the frame of every stage.

    Args:
        experiment: The run.
        name: Of the artifact.
        build: Makes all but the completion marker; goes on from what it finds in `Artifact.work`.
        overwrite: Remove what is there first.
        reopen: Makes a complete artifact of this run unfinished work again, all but the rows that
            failed, so that these are tried again; None leaves them.
        costly: See `Artifact.start`.
        rescue: Takes out of unfinished work what is of use elsewhere, before it is removed.

    Returns:
        One line for the user: rows, seconds, rows per second, errors, where the result lies.

    Raises:
        ValueError: what it is made from is stale, or it is itself; it is there, or unfinished work
            of it, made with another configuration; another job is at it.
    """
    target = own_artifact(experiment, name) if overwrite else artifact(experiment, name)
    check_lineage(experiment, name, anew=(name,) if overwrite else ())
    inputs = identities(experiment, name)
    if not overwrite and target.is_complete():
        manifest = target.require()
        own = target == own_artifact(experiment, name)
        if reopen is None or not manifest["errors"] or not own:
            return f"{name}: complete already, {_counts(manifest)} · {target.uri}"
    with lease(target.uri):
        if rescue is not None and (overwrite or not target.goes_on(inputs)):
            rescue(target)
        if overwrite:
            target.clear()
        elif reopen is not None and target.is_complete():
            reopen(target)
            target.begin(inputs)
            remove(f"{target.uri}/{COMPLETE}")
        target.start(inputs, costly)
        record(experiment)
        before = num_done(target)
        start = time.monotonic()
        built = build(target)
        manifest = target.complete(built, time.monotonic() - start, inputs)
    tell_errors(target)
    return (
        f"{name}: {_counts(manifest)}, {_speed(built, manifest['seconds'], before)} · {target.uri}"
    )


def verify(experiment: Experiment) -> list[str]:
    """Compare every file of a run's complete artifacts with what was written; one line for each.

    Raises:
        ValueError: files are missing, or have other bytes; the lines of all artifacts are shown.
    """
    found = {name: artifact(experiment, name) for name in ARTIFACTS}
    outcomes = {name: attempt(_verified, target) for name, target in found.items()}
    lines = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome is not None]
    if any(isinstance(outcome, ValueError) for outcome in outcomes.values()):
        raise ValueError("\n".join(lines))
    return lines or [f"no artifact of {experiment.run} is complete"]


def _verified(target: Artifact) -> str | None:
    """Say what was compared; None: the artifact is not complete."""
    manifest = target.manifest()
    if manifest is None:
        return None
    files = manifest.get("files", [])
    check_sizes(target.uri, files)
    check_digests(target.uri, files)
    sound = f"{len(files)} files, {sum(file['bytes'] for file in files):,} bytes"
    said = sound if "files" in manifest else "an earlier version made it without digests"
    return f"{said} · {target.uri}"


def tell_errors(target: Artifact, folder: str = ERRORS, what: str = "rows failed") -> None:
    """Warn of rows that failed: their number, the most frequent reasons, and where all are."""
    errors = read_errors(target, folder) if ARTIFACTS[target.name].kind != "network" else ()
    if len(errors):
        lines = "\n  ".join(frequent_reasons(errors))
        log.warning(
            "%s: %d %s; most often:\n  %s\nAll of them: %s/%s",
            *(target.name, len(errors), what, lines, target.uri, folder),
        )


def _counts(manifest: Manifest) -> str:
    return f"{manifest['rows']:,} rows, {manifest['errors']:,} errors"


def _speed(built: Built, seconds: float, before: int) -> str:
    """Time and rates of this attempt, which found so many rows or steps done before."""
    made = [(built.rows, "rows"), *([built.parts] if built.parts else [])]
    total, unit = made[-1] if made[-1][1] == "steps" else made[0]
    share = 1 - before / total if total else 1.0
    rates = ", ".join(f"{share * number / max(seconds, 0.1):.1f} {unit}/s" for number, unit in made)
    more = f"{built.parts[0]:,} {built.parts[1]}, " if built.parts else ""
    again = f" after {before:,} {unit} of an earlier attempt" if before else ""
    note = f"{built.note}, " if built.note else ""
    return f"{more}{note}{seconds:.1f} s{again}, {rates}"
