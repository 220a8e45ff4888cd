"""The interface of every job: `--config FILE [--overwrite] [key=value …]`."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from qaclims_ray.config import Experiment, load
from qaclims_ray.overrides import parse_overrides
from qaclims_ray.sections import Section

_EPILOG = """\
Values are resolved as: class default < YAML file < key=value. Keys are dotted, values YAML:
    train.ritc.epochs=2  corpus.texts.backgrounds=[sky,grass]  data.limit=100
`jobs/show_config.py --config FILE` prints every key, its value and what it means.
A job does nothing where its artifact is complete, and goes on where it was interrupted.
"""


def parse(
    description: str | None, argv: Sequence[str] | None = None, *flags: str
) -> tuple[Experiment, argparse.Namespace]:
    """Read a job's arguments.

    Args:
        description: The job's docstring, shown by --help.
        argv: Arguments; None takes the command line's.
        flags: Further switches, such as `--baseline`.

    Returns:
        The experiment, and the switches: `overwrite` and those of `flags`.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="a file of configs/")
    parser.add_argument("--overwrite", action="store_true", help="make the artifact anew")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="see below")
    arguments = parser.parse_intermixed_args(argv)
    experiment = load(arguments.config, parse_overrides(arguments.overrides))
    return experiment, arguments


def run_job(main: Callable[[], Any]) -> None:
    """Run a job's main function: a user's mistake ends it with one message, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")


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
