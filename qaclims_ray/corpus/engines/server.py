"""Visual question answering by an OpenAI-compatible server: vLLM, SGLang, a hosted model."""

import base64
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import requests
from urllib3 import exceptions

from qaclims_ray.config.corpus import Server
from qaclims_ray.corpus.answers import NoAnswer, Reply, read_answer
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.corpus.engines.http import bounded_session, read_bounded
from qaclims_ray.images.decode import encode_jpeg
from qaclims_ray.run.faults import StageError
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.paths import shown
from qaclims_ray.types import Image

_CONNECT_SECONDS = 10.0
MAX_FAILURES = 3
"""Images in a row on which a server may fail before the stage stops."""
_UNREACHABLE = (
    exceptions.NewConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.SSLError,
    exceptions.ProxyError,
)
_WRONG_ADDRESS = (401, 403, 404, 405, 410)
"""Statuses that any other question would get too."""
_SHOWN = 300
"""Characters of a server's reply that an error shows."""
_LONGEST = 1000
"""Characters of an answer."""


class _FailureError(ValueError):
    """The server failed on a question, be it its own fault or the image's."""


class ServerEngine:
    """A vision-language model behind `<url>/chat/completions`.

    Each question is a request of its own (image, question, `instruction`), `num_connections` at
    once, answered greedily. What the server refuses because it is busy or broken (429, 5xx, no
    connection) is sent again up to six times, after pauses that grow (to half a minute in all) or
    that it asks for (a minute each at most); what it does not answer in `timeout` seconds, twice.
    It is told nothing elsewhere: redirections are not followed.

    A question that it refuses for good (400, a reply of another form), or fails on after all, is
    the error of its image. A server that is out of reach, refuses access or fails on three images
    in a row stops the stage.

    `extra` are further fields of each request; they replace ours, and null leaves ours out. The
    API key is read from the environment variable `key_variable`; it is never logged or shown.

    Args:
        section: The section `corpus.engine`.
        backoff: Seconds of the first pause before a request is sent again.
    """

    def __init__(self, section: Server, backoff: float = 0.5) -> None:
        self._section = section
        self._url = f"{section.url.rstrip('/')}/chat/completions"
        self._timeout = (min(_CONNECT_SECONDS, section.timeout), section.timeout)
        self._key = os.environ.get(section.key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise StageError(
                f"the API key in {section.key_variable} holds a line break, or another character "
                "that no key has: set it anew"
            )
        self._session = bounded_session(section.num_connections, section.timeout, backoff)
        self._pool = ThreadPoolExecutor(section.num_connections)
        self._failures = 0

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[Reply] | ValueError]:
        """See `Engine`.

        Raises:
            StageError: any other image would fail too.
        """
        # Questions about an image are on their way while the next one is encoded.
        waiting = [
            self._ask_all(image, texts) for image, texts in zip(images, questions, strict=True)
        ]
        try:
            return [self._collect(row) for row in waiting]
        finally:
            for row in waiting:
                _cancel(row)  # what still waits behind a failure

    def _ask_all(self, image: Image, questions: Sequence[str]) -> list[Future[Reply]]:
        url = data_url(image) if questions else ""
        return [self._pool.submit(self._ask, url, question) for question in questions]

    def _collect(self, waiting: Sequence[Future[Reply]]) -> list[Reply] | ValueError:
        """Wait for the answers about an image; return them, or why one is missing."""
        answers = attempt(lambda: [one.result() for one in waiting])
        if isinstance(answers, StageError):
            raise answers
        if isinstance(answers, ValueError):
            _cancel(waiting)
        if waiting:
            failed = isinstance(answers, _FailureError)
            self._failures = self._failures + 1 if failed else 0
        if self._failures >= MAX_FAILURES:
            raise self._stop(f"fails on {MAX_FAILURES} images in a row; the last: {answers}")
        return answers

    def _ask(self, image_url: str, question: str) -> Reply:
        content = [
            {"type": "image_url", "image_url": {"url": image_url}},
            {"type": "text", "text": f"{question} {self._section.instruction}"},
        ]
        request = {
            "model": self._section.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._section.max_new_tokens,
            "temperature": 0.0,
            **self._section.extra,
        }
        request = {name: value for name, value in request.items() if value is not None}
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            reply = self._session.post(
                self._url,
                json=request,
                headers=headers,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
            content = read_bounded(reply)
        except (requests.RequestException, exceptions.HTTPError) as error:
            # urllib3 keeps the reason for which the last of several tries failed.
            last: Any = error.args[0] if error.args else error
            reason = getattr(last, "reason", last)
            if isinstance(reason, _UNREACHABLE):
                raise self._stop(f"is out of reach: {reason}") from None
            raise _FailureError(self._masked(f"{self._url} does not answer: {reason}")) from None
        answer = self._answer_in(reply.status_code, content)
        if isinstance(answer, str) and len(answer) > _LONGEST:
            raise ValueError(f"an answer of {len(answer):,} characters: a few words are expected")
        return answer

    def _answer_in(self, status: int, content: bytes) -> Reply:
        text = content.decode(errors="replace")
        said = repr(self._masked(text)[:_SHOWN])
        if 300 <= status < 400:
            raise self._stop(f"redirects with {status}, which is not followed: give the last URL")
        if status in _WRONG_ADDRESS:
            key = f" (is the API key in {self._section.key_variable}?)"
            base = " (is corpus.engine.url the base URL, and does it serve "
            hints = {401: key, 403: key, 404: f"{base}{self._section.model!r}?)"}
            raise self._stop(f"refuses with {status}{hints.get(status, '')}: {said}")
        if status >= 400:
            kind = _FailureError if status == 429 or status >= 500 else ValueError
            raise kind(f"{shown(self._url)} refuses with {status}: {said}")
        try:
            answer = reply_in(json.loads(text)["choices"][0])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            answer = None
        if answer is None:
            raise ValueError(f"{shown(self._url)} replied without an answer: {said}")
        return answer

    def _stop(self, why: str) -> StageError:
        return StageError(
            f"{self._masked(f'{self._url} {why}')}\nSee that the server runs and that "
            f"corpus.engine.url, model and the key in {self._section.key_variable} are right; then "
            "the same command goes on."
        )

    def _masked(self, text: str) -> str:
        """Return a text without the key, whoever repeats it, and without a URL's credentials."""
        return shown(text.replace(self._key, "***") if self._key else text)


def reply_in(choice: Any) -> Reply | None:
    """Read one of the `choices` of a reply; None where it has no text, nor says why.

    A server that keeps thoughts apart sends null in place of a text that was cut before its
    beginning. One that does not know why a model stopped leaves `finish_reason` out.

    Raises:
        LookupError, TypeError, AttributeError: it is no choice at all.
    """
    message, ended = choice["message"], choice.get("finish_reason")
    text = message.get("content")
    if ended == "content_filter" or message.get("refusal"):
        return NoAnswer("refused", str(message.get("refusal") or text or "content filter")[:200])
    if ended not in (None, "stop", "length") or not (isinstance(text, str) or ended):
        return None
    return read_answer(text if isinstance(text, str) else "", is_cut=ended == "length")


def _cancel(waiting: Sequence[Future[Reply]]) -> None:
    for one in waiting:
        one.cancel()


def data_url(image: Image) -> str:
    """Put an image into a `data:` URL, as a JPEG."""
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image)).decode()}"
