"""Requests to a server that nobody vouches for, bounded in time, bytes and pauses.

A socket's own timeout begins anew with each byte. So each connection is cut when its request has
taken too long, whatever the server is at.
"""

import logging
import socket
import threading
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry

log = logging.getLogger(__name__)

MAX_BYTES = 2**20
"""Longest reply."""
MAX_PAUSE = 60.0
"""Seconds that a server may ask to wait before a request is sent again."""
_PART = 2**16
_RETRIES, _READ_RETRIES = 6, 2
"""How often a request is sent again that the server refuses or that never reaches it, and one that
it leaves without a reply, which may have cost it work."""


def bounded_session(num_connections: int, seconds: float, backoff: float) -> requests.Session:
    """Make a session that sends a request again where the server is busy or broken.

    Args:
        num_connections: That it keeps open.
        seconds: Deadline of each try, from its first byte sent to its last one received.
        backoff: Seconds of the first pause.
    """
    retry = _Retry(
        total=_RETRIES,
        read=_READ_RETRIES,
        backoff_factor=backoff,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("POST",),
        raise_on_status=False,
    )
    adapter = HTTPAdapter(pool_maxsize=num_connections, max_retries=retry)
    adapter.poolmanager.pool_classes_by_scheme = _pools(seconds)
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # what is packed may be of any length
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def read_bounded(reply: requests.Response) -> bytes:
    """Read the body of a streamed reply as it was sent.

    Raises:
        ValueError: it is longer than `MAX_BYTES`.
        urllib3.exceptions.HTTPError: the connection broke, or was cut at the deadline.
    """
    content = bytearray()
    while part := reply.raw.read(_PART, decode_content=False):
        content += part
        if len(content) > MAX_BYTES:
            reply.close()
            raise ValueError(f"a reply of more than {MAX_BYTES:,} bytes")
    reply.raw.release_conn()
    return bytes(content)


class _Retry(Retry):
    def get_retry_after(self, response: Any) -> float | None:
        """Return the pause that a server asks for, or `MAX_PAUSE` where that is less."""
        asked = super().get_retry_after(response)
        if asked is None:
            return None
        pause = min(asked, MAX_PAUSE)
        log.warning("the server asks for a pause of %.0f s: waiting %.0f s", asked, pause)
        return pause


def _pools(seconds: float) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections that live so many seconds after a request was begun."""

    class Cut(HTTPConnection):
        timer: threading.Timer | None = None
        is_late = False

        def request(self, *args: Any, **kwargs: Any) -> None:
            """Begin a request, and its time."""
            if self.timer is not None:
                self.timer.cancel()
            self.is_late = False
            self.timer = threading.Timer(seconds, self.cut)
            self.timer.daemon = True
            self.timer.start()
            super().request(*args, **kwargs)

        def getresponse(self) -> HTTPResponse:
            try:
                return super().getresponse()
            finally:
                if self.is_late:
                    raise TimeoutError(f"no reply within {seconds:g} s")

        def cut(self) -> None:
            self.is_late = True
            with suppress(OSError, AttributeError):  # it is closed already
                self.sock.shutdown(socket.SHUT_RDWR)

    class CutSecure(Cut, HTTPSConnection):
        pass

    return {
        "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": Cut}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": CutSecure}),
    }
