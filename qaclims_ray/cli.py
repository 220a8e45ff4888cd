"""The command line of every job: `--config FILE [--overwrite] [key=value …]`."""

import argparse
import builtins
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel

from qaclims_ray.config.base import Section
from qaclims_ray.config.experiment import Experiment, load
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.config.shipped import shipped_configs
from qaclims_ray.storage.paths import plain, shown

_EPILOG = """\
Values are resolved as: class default < YAML file < key=value. Keys are dotted, values YAML:
    train.ritc.epochs=2  corpus.texts.backgrounds=[sky,grass]  data.limit=100
`qaclims show-config --config FILE` prints every key, its value and what it means.
A job does nothing where its artifact is complete, and goes on where it was interrupted.
"""
SWITCHES = {
    "--baseline": "take the CAMs of the classifier, without RITC",
    "--clip": "make the CAMs of a frozen CLIP that RITC learns",
    "--cams": "draw the CAMs of QA-CLIMS",
    "--new": "take the images of new_images",
    "--onnx": "write an ONNX file too",
    "--retry-errors": "try again the rows of a complete artifact that failed",
    "--overwrite": "make the artifact anew",
}
"""Switches that jobs share, and their meaning."""
INTERRUPTED = 130
"""Exit status of what Ctrl-C ended, as shells have it."""
_DASHED = re.compile(r"--(\w+(?:\.\w+)*=\S*|\w+(?:\.\w+)+)")
"""An override that is written like an option."""
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception)): ", re.MULTILINE)
"""Start of the last line of a traceback."""


RAY_DEATHS = {
    "LocalRayletDiedError": "Ray's process of this node (raylet) died, maybe for lack of memory",
    "NodeDiedError": "a node of the Ray cluster died, and its work could not be moved",
    "OutOfMemoryError": (
        "a node's memory was full, and Ray ended a process of this job: lower batch_size or "
        "num_actors in the section compute"
    ),
    "WorkerCrashedError": "a process of the job died, killed or for lack of memory",
    "ActorDiedError": "a process of the job died, killed or for lack of memory",
    "ActorUnavailableError": "a process of the job does not answer",
    "OwnerDiedError": "a process died that others waited for, killed or for lack of memory",
    "ObjectLostError": "a node died that held rows which others waited for",
    "ObjectReconstructionFailedError": "a node died that held rows which others waited for",
    "OutOfDiskError": "the disk is full on which Ray keeps what its memory cannot hold",
    "RaySystemError": "Ray itself failed",
    "RpcError": "Ray's head process (gcs_server) does not answer",
}
"""What died, by the name of Ray's error."""
_SAID_ALREADY = "^(Raylet is terminated|A worker died or was killed while executing a task)"
"""Ray's own messages of deaths, which it prints among the results; we say the same, shorter."""
_LOOK_EVERY, _GIVES_UP_AFTER = 0.5, 10.0
"""Seconds between two looks for what ends all work, and that the work has to end by itself then."""
_causes: list[Callable[[], str | None]] = []

_ADVICE = re.compile(r"\nFailed to .+ after \d+/\d+ attempts \(total backoff[\s\S]*")
"""What Ray Data adds to the message of an error that it did not try again."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End the job; hint at overrides that are written like options."""
        dashed = _DASHED.search(message)
        hint = f"; overrides have no dashes: {dashed[1]}" if dashed else ""
        super().error(f"{message}{hint}")


def job_parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser that shows a job's docstring as it is, and has no options yet."""
    return _Parser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_config(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options --config and `key=value …`."""
    shipped = f"a YAML file, or by its name one of {', '.join(shipped_configs())}"
    parser.add_argument("--config", required=required, metavar="FILE", help=shipped)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change")


def parse(
    description: str | None,
    argv: Sequence[str] | None = None,
    *switches: str,
    overwrites: bool = True,
    **options: Mapping[str, Any],
) -> tuple[Experiment, argparse.Namespace]:
    """Read a job's arguments.

    Args:
        description: The job's docstring, shown by --help.
        argv: Arguments; None takes the command line's.
        switches: Further ones of `SWITCHES`, such as `--baseline`.
        overwrites: Whether the job makes an artifact, which --overwrite makes anew.
        options: Further options with a value, and their arguments of `add_argument`.

    Returns:
        The experiment, and a namespace of switches and options.
    """
    parser = job_parser(description, _EPILOG)
    add_config(parser)
    for switch in (*switches, *(["--overwrite"] if overwrites else [])):
        parser.add_argument(switch, action="store_true", help=SWITCHES[switch])
    for name, arguments in options.items():
        parser.add_argument(f"--{name}", **arguments)
    arguments = parser.parse_intermixed_args(argv)
    return load(arguments.config, parse_overrides(arguments.overrides)), arguments


def say(*lines: str) -> None:
    """Show lines of a job's result."""
    for line in lines:
        sys.stdout.write(f"{plain(line)}\n")


def tell(lines: Iterable[str]) -> None:
    """Show lines beside the progress, apart from a job's result."""
    for line in lines:
        sys.stderr.write(f"{plain(line)}\n")


class _PlainLog(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record as a terminal may show it."""
        return plain(super().format(record))


def ends_work(cause: Callable[[], str | None]) -> None:
    """Let a running job be ended with a message as soon as `cause` returns one.

    Whatever it waits for then would wait for long, and whatever error it meets follows from this.
    """
    _causes.append(cause)


def _cause() -> str | None:
    return next((told for cause in _causes if (told := cause()) is not None), None)


def _watch(is_over: threading.Event, main_thread: int) -> None:
    """End the process where a cause ends all work: by an interrupt, and by force a little later."""
    while not is_over.wait(_LOOK_EVERY):
        message = _cause()
        if message is not None:
            # A signal to this very thread wakes it from whatever it waits for.
            signal.pthread_kill(main_thread, signal.SIGINT)
            if not is_over.wait(_GIVES_UP_AFTER):
                tell([f"error: {message}"])
            else:
                time.sleep(_GIVES_UP_AFTER)  # for what runs at the exit
            os._exit(1)


def run_job(main: Callable[[], Any]) -> None:
    """Run a job's main function; an error that a user can mend ends it with one message."""
    is_over = threading.Event()
    watched = (is_over, threading.get_ident())
    threading.Thread(target=_watch, args=watched, daemon=True).start()
    try:
        _run(main)
    finally:
        is_over.set()


def _run(main: Callable[[], Any]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainLog("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # Ray reads it while it is imported, which `main` does.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _SAID_ALREADY)
    try:
        main()
    except KeyboardInterrupt:
        if (message := _cause()) is not None:
            sys.exit(f"error: {message}")
        tell(["interrupted: the same command goes on from here"])
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # who reads the output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        message = _cause() or explain(error)
        if message is None:
            raise
        sys.exit(f"error: {shown(_ADVICE.sub('', message))}")


def explain(error: BaseException) -> str | None:
    """Return the message of an error that a user can mend, whatever Ray wraps it in; else None."""
    if getattr(error, "actor_init_failed", False):
        return _from_traceback(str(error))
    cause = getattr(error, "cause", None) or error.__cause__
    if type(error).__module__.startswith("ray.") and isinstance(cause, BaseException):
        return explain(cause)
    if isinstance(error, ValueError):
        return str(error)
    if type(error).__module__.startswith("ray.") and type(error).__name__ in RAY_DEATHS:
        return f"{RAY_DEATHS[type(error).__name__]}. Work is kept: the same command goes on."
    # Errors of the Hub's HTTP client are no OSError.
    of_http = any(one.__module__.startswith(("httpx", "httpcore")) for one in type(error).__mro__)
    if isinstance(error, OSError) or of_http:
        return f"{type(error).__name__}: {error}\nMend it, and the same command goes on."
    return None


def _from_traceback(text: str) -> str | None:
    """Return the message at the end of a traceback, all that Ray keeps of a failed actor start."""
    parts = _RAISED.split(text)
    name = parts[-2].rpartition(".")[2] if len(parts) > 1 else ""
    kind = getattr(builtins, name, Exception)
    is_known = name == "StageError" or issubclass(kind, (ValueError, OSError))
    return parts[-1].strip() if is_known else None


def describe(section: BaseModel, indent: str = "") -> Iterator[str]:
    """Yield lines of YAML with each key's meaning as a comment above it."""
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
