"""Paths and URLs as text: join, check, and show them; nothing is opened here."""

import re
from hashlib import sha256
from pathlib import Path

WEB = ("http://", "https://")
"""Schemes of servers that hand out files and list no folders."""

_LONGEST = 255
"""Bytes of a file's name, on every usual file system."""
_MEMBER = re.compile(r"(.+)#(.*):(\d+)\+(\d+)", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_QUERY = re.compile(r"""(://[^\s?#]*)?\?(?(1)|(?=[^\s#]*=))[^\s#]*[^\s#:,;.)'"\]}]""")


def plain(text: str) -> str:
    """Return a text that a terminal may show, which names and answers of others may be a part of.

    Characters that are not UTF-8, as in old file names, are escaped, and so are those that command
    a terminal or turn the direction of a text. Tabs and line ends stay.
    """
    text = text.encode(errors="backslashreplace").decode()
    return _CONTROL.sub(lambda one: one[0].encode("unicode_escape").decode(), text)


def shown(text: str) -> str:
    """Return a URI, or a message that holds some, without what must stay secret; see `plain` too.

    User and password, and what follows a question mark, such as a signature, are left out.
    """
    return _QUERY.sub(lambda query: f"{query[1] or ''}?…", _USER.sub("", plain(text)))


def absolute(uri: str) -> str:
    """Make a local path absolute, as workers run in other folders; strip a slash at the end.

    `~/` is the user's home folder.
    """
    return uri.rstrip("/") if "://" in uri else str(Path(uri).expanduser().resolve())


def join(root: str, *parts: str) -> str:
    """Join parts to a folder, local or remote."""
    return "/".join([root.rstrip("/"), *parts])


def locate(root: str, path: str) -> str:
    """Join a path to a folder; a URL or an absolute path stays as it is."""
    return path if "://" in path or path.startswith("/") else join(root, path)


def member(tar: str, name: str, offset: int, size: int) -> str:
    """Return the path of a file inside an uncompressed tar: `<tar>#<name>:<offset>+<size>`.

    Its content is the range of bytes; the name, without its own "#", is for people.
    """
    return f"{tar}#{name.replace('#', '%23')}:{offset}+{size}"


def split_member(path: str) -> tuple[str, int, int] | None:
    """Return the tar, offset and size of a path that `member` made, None for any other path."""
    found = _MEMBER.fullmatch(path)
    return None if found is None else (found[1], int(found[3]), int(found[4]))


def member_name(path: str) -> str | None:
    """Return the name that `member` was given, None for any other path."""
    found = _MEMBER.fullmatch(path)
    return None if found is None else found[2].replace("%23", "#")


def check_inside(relative: str) -> str:
    """Return the path if it stays below its folder.

    Raises:
        ValueError: it is absolute, or has a part that is empty, `.` or `..`, or a backslash.
    """
    parts = relative.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in relative or "\0" in relative:
        raise ValueError(f"{relative!r} is not a path below its folder")
    return relative


def png_name(name: str) -> str:
    """Return `<name>.png`; see `file_name`."""
    return file_name(name, ".png")


def file_name(name: str, suffix: str) -> str:
    """Return name and suffix, or the beginning and a digest of a name that no file should have.

    Such names are too long, or command a terminal.

    Raises:
        ValueError: the file would not lie below its folder.
    """
    plain = "".join(one if one.isprintable() else "_" for one in check_inside(name))
    whole = plain.encode()
    if plain == name and len(whole) + len(suffix) <= _LONGEST:
        return f"{name}{suffix}"
    end = f"-{sha256(name.encode()).hexdigest()[:16]}{suffix}"
    return f"{whole[: _LONGEST - len(end)].decode(errors='ignore')}{end}"


def check_text(text: str) -> str:
    """Return the name, address or label if a table can hold it.

    Raises:
        ValueError: it is not UTF-8: a name in another encoding, or half a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} is not UTF-8 text, as tables hold it: rename it") from error
    return text
