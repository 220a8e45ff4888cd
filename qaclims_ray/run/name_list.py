"""Names in text files, one a line and sorted, which are read bit by bit."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from qaclims_ray.storage.files import open_stream, staged_open


@dataclass(frozen=True)
class NameList:
    """Names in a file that `write_lists` wrote; no process holds them all.

    It goes to other processes as the little that it is.
    """

    uri: str
    num_names: int

    def __len__(self) -> int:
        return self.num_names

    def __iter__(self) -> Iterator[str]:
        return read_names(self.uri)


def read_names(uri: str) -> Iterator[str]:
    """Go through the names in a file that `write_lists` wrote."""
    with open_stream(uri) as file:
        for line in file:
            yield line.decode().removesuffix("\n")


def write_lists(uris: Iterable[str], names: Iterable[tuple[int, str]]) -> list[NameList]:
    """Write names into files, which appear when all names have come.

    Args:
        uris: The files.
        names: Number of the file and name, sorted by name.
    """
    targets, nums = list(uris), [0 for _ in uris]
    with ExitStack() as stack:
        files = [stack.enter_context(staged_open(uri)) for uri in targets]
        for number, name in names:
            files[number].write(f"{name}\n".encode())
            nums[number] += 1
    return [NameList(uri, num) for uri, num in zip(targets, nums, strict=True)]
