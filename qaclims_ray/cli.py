"""The interface of every job: `--config FILE [--overwrite] [key=value …]`."""

import argparse
import builtins
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from qaclims_ray.config.base import Section
from qaclims_ray.config.experiment import Experiment, load
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.storage.paths import shown

_EPILOG = """\
Values are resolved as: class default < YAML file < key=value. Keys are dotted, values YAML:
    train.ritc.epochs=2  corpus.texts.backgrounds=[sky,grass]  data.limit=100
`jobs/show_config.py --config FILE` prints every key, its value and what it means.
A job does nothing where its artifact is complete, and goes on where it was interrupted.
"""
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception)): ", re.MULTILINE)
"""How the last line of a traceback starts."""


def parse(
    description: str | None,
    argv: Sequence[str] | None = None,
    *flags: str,
    overwrites: bool = True,
    **options: Mapping[str, Any],
) -> tuple[Experiment, argparse.Namespace]:
    """Read a job's arguments.

    Args:
        description: The job's docstring, shown by --help.
        argv: Arguments; None takes the command line's.
        flags: Further switches, such as `--baseline`.
        overwrites: Whether the job makes an artifact, which --overwrite makes anew.
        options: Further options with a value, and what argparse is told of them.

    Returns:
        The experiment, and the switches: `overwrite` and those of `flags` and `options`.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="a file of configs/")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    for name, told in options.items():
        parser.add_argument(f"--{name}", **told)
    if overwrites:
        parser.add_argument("--overwrite", action="store_true", help="make the artifact anew")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="see below")
    arguments = parser.parse_intermixed_args(argv)
    experiment = load(arguments.config, parse_overrides(arguments.overrides))
    return experiment, arguments


def tell(lines: Iterable[str]) -> None:
    """Show lines beside the progress, apart from a job's result."""
    for line in lines:
        sys.stderr.write(f"{line}\n")


def run_job(main: Callable[[], Any]) -> None:
    """Run a job's main function: what a user can mend ends it with one message, no traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        sys.exit(f"error: {shown(message)}")


def explain(error: BaseException) -> str | None:
    """What a user can mend, in a few words, whatever Ray wraps around it; None for other errors."""
    if getattr(error, "actor_init_failed", False):
        return _from_traceback(str(error))
    cause = getattr(error, "cause", None) or error.__cause__
    if type(error).__module__.startswith("ray.") and isinstance(cause, BaseException):
        return explain(cause)
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}\nMend it, and the same command goes on."
    return None


def _from_traceback(text: str) -> str | None:
    """The message at the end of a traceback; all that Ray keeps of an actor that does not start."""
    parts = _RAISED.split(text)
    name = parts[-2].rpartition(".")[2] if len(parts) > 1 else ""
    kind = getattr(builtins, name, Exception)
    is_known = name == "StageError" or issubclass(kind, (ValueError, OSError))
    return parts[-1].strip() if is_known else None


def describe(section: BaseModel, indent: str = "") -> Iterator[str]:
    """Lines of YAML with each key's meaning as a comment above it."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        documented = type(value) if isinstance(value, Section) else None
        meaning = field.description or (documented.__doc__ if documented else None) or ""
        for line in meaning.splitlines():
            yield f"{indent}# {line.strip()}"
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from describe(value, f"{indent}  ")
        else:
            plain = section.model_dump(mode="json")[name]
            text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000)
            yield f"{indent}{name}: {text.strip().removesuffix('...').rstrip()}"
