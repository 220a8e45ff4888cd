"""An S3 server for tests, in a process of its own: moto's, with faults put before it.

python tests/cluster/s3_server.py PORT EVERY   # of every EVERY requests one is refused, one is slow
"""

import itertools
import sys
import time

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>Try again.</Message></Error>"
SLOW_SECONDS = 0.3


class Faulty:
    """Refuses some requests with 503, answers some late, and hands the others on."""

    def __init__(self, app, every):
        self._app, self._every = app, every
        self._number = itertools.count(1)

    def __call__(self, environ, start_response):
        number = next(self._number)
        if number % self._every == 0:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [SLOW_DOWN if number % 2 else UNAVAILABLE]
        if number % self._every == self._every // 2:
            time.sleep(SLOW_SECONDS)
        return self._app(environ, start_response)


if __name__ == "__main__":
    port, every = map(int, sys.argv[1:])
    moto = DomainDispatcherApplication(create_backend_app)
    make_server(
        "127.0.0.1", port, Faulty(moto, every) if every else moto, threaded=True
    ).serve_forever()
