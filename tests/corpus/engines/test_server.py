import base64
import gzip
import io
import json
import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from qaclims_ray.config.corpus import Server
from qaclims_ray.corpus.answers import NoAnswer
from qaclims_ray.corpus.engines import http
from qaclims_ray.corpus.engines.server import MAX_FAILURES, ServerEngine, data_url, reply_in
from qaclims_ray.run.faults import StageError

IMAGE = np.full((20, 30, 3), (200, 100, 50), np.uint8)
KEY = "sk-very-secret"


class Fake(ThreadingHTTPServer):
    """An OpenAI-compatible server that says back what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.failures = []
        """Status codes of the next replies."""
        self.reply = None
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.requests.append((self.path, dict(self.headers), body))
            status = server.failures.pop() if server.failures else 200
        time.sleep(0.02)
        with server.lock:
            server.at_once -= 1
        text = body["messages"][0]["content"][1]["text"]
        good = {"choices": [{"message": {"content": f" Said: {text}.\nAnd more."}}]}
        refusal = {"error": f"no, {self.headers['Authorization']}"}
        self.send(status, (server.reply or good) if status == 200 else refusal)

    def send(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Fake() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _engine(url, *, model="m", backoff=0.5, **options):
    return ServerEngine(Server(kind="server", url=url, model=model, **options), backoff)


@pytest.fixture
def engine(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return _engine(server.url, model="tiny-vl", instruction="In short", backoff=0.001)


def _ask(engine, questions):
    return engine.answer([IMAGE] * len(questions), questions, names=["a"] * len(questions))


def test_questions_are_on_their_way_while_the_next_image_is_encoded(engine, monkeypatch):
    is_sent, encoded, ask = threading.Event(), [], engine._ask

    def encode(image):
        assert not encoded or is_sent.wait(60)
        encoded.append(image)
        return data_url(image)

    monkeypatch.setattr("qaclims_ray.corpus.engines.server.data_url", encode)
    monkeypatch.setattr(engine, "_ask", lambda *asked: is_sent.set() or ask(*asked))
    assert [len(replies) for replies in _ask(engine, [["where?"], [], ["who?"]])] == [1, 0, 1]
    assert len(encoded) == 2


def test_each_question_goes_to_the_server_with_its_image(server, engine):
    assert _ask(engine, [["Where?", "why?"], [], ["who?"]]) == [
        ["said: where? in short", "said: why? in short"],
        [],
        ["said: who? in short"],
    ]
    assert len(server.requests) == 3
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny-vl", 10, 0)
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))))
    assert np.abs(np.asarray(picture).astype(int) - IMAGE).max() < 4


def test_requests_run_side_by_side_but_no_more_than_allowed(server):
    engine = _engine(server.url, num_connections=3)
    _ask(engine, [["q"] * 6, ["q"] * 6])
    assert 1 < server.most_at_once <= 3


def test_what_a_busy_server_refuses_is_sent_again(server, engine):
    server.failures = [503, 429, 500]
    assert _ask(engine, [["where?"]]) == [["said: where? in short"]]
    assert len(server.requests) == 4


def test_a_server_that_fails_on_one_image_fails_that_image(server, engine):
    server.failures = [503] * 7
    (bad, good) = _ask(engine, [["where?"], []])
    assert "refuses with 503: " in str(bad)
    assert good == []
    assert len(server.requests) == 7
    assert _ask(engine, [["why?"]]) == [["said: why? in short"]]


def test_a_server_that_fails_on_image_after_image_stops_the_stage(server):
    engine = _engine(server.url, num_connections=1, backoff=0.001)
    server.failures = [503] * 1000
    with pytest.raises(StageError, match=rf"fails on {MAX_FAILURES} images in a row; .*with 503"):
        _ask(engine, [["where?", "why?"]] * 99)
    assert len(server.requests) <= 7 * 2 * MAX_FAILURES


def test_failures_that_are_not_in_a_row_stop_nothing(server):
    engine = _engine(server.url, num_connections=1, backoff=0.001)
    for _ in range(MAX_FAILURES + 1):
        server.failures = [503] * 7
        assert isinstance(_ask(engine, [["where?"]])[0], ValueError)
        assert _ask(engine, [["where?"]])[0] != []


def test_a_server_that_never_answers_stops_the_stage(server):
    engine = _engine(server.url, timeout=0.01, num_connections=1, backoff=0.001)
    with pytest.raises(StageError, match=r"images in a row; the last: .*[Rr]ead timed out"):
        _ask(engine, [["where?"]] * 99)


def test_after_a_failure_nothing_more_is_asked_about_the_image(server):
    engine = _engine(server.url, num_connections=1)
    server.failures = [400]
    bad, good = _ask(engine, [["where?"] * 10, ["why?"] * 2])
    assert "refuses with 400" in str(bad)
    assert len(good) == 2
    assert len(server.requests) <= 4


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "API key in OPENAI_API_KEY"),
        (403, "API key in OPENAI_API_KEY"),
        (404, "serve 'tiny-vl'"),
        (405, "refuses with 405"),
    ],
)
def test_a_wrong_address_or_key_stops_the_stage_at_once(server, engine, status, message):
    server.failures = [status]
    with pytest.raises(StageError, match=message):
        _ask(engine, [["where?"]])
    assert len(server.requests) == 1


def test_the_key_of_the_environment_is_sent_and_never_shown(server, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level("DEBUG")
    engine = _engine(server.url, key_variable="MY_KEY")
    server.failures = [403]
    with pytest.raises(ValueError, match=r"API key in MY_KEY\?\): .*Bearer \*\*\*") as error:
        _ask(engine, [["where?"]])
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in f"{error.value}{caplog.text}"


@pytest.mark.parametrize("reply", [{"choices": []}, {"choices": [{"message": {}}]}, ["no"]])
def test_a_reply_without_answer_is_an_error(server, engine, reply):
    server.reply = reply
    (error,) = _ask(engine, [["where?"]])
    assert "replied without an answer" in str(error)


def test_no_server_is_an_error_that_names_the_address(server, engine):
    server.server_close()
    server.socket.close()
    lonely = _engine("http://127.0.0.1:1/v1", backoff=0.001)
    start = time.monotonic()
    with pytest.raises(
        StageError, match=r"http://127.0.0.1:1/v1/chat/completions is out of reach: .*refused\n"
    ):
        _ask(lonely, [["where?"] * 16] * 99)
    assert time.monotonic() - start < 5


def test_further_fields_replace_ours_and_null_leaves_one_out(server):
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": None, "seed": 3}
    _ask(_engine(server.url, extra=extra), [["where?"]])
    ((_, _, body),) = server.requests
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "max_tokens" not in body
    assert body["seed"] == 3


def test_thoughts_are_no_answer(server, engine):
    server.reply = {"choices": [{"message": {"content": "<think>A cat,\nno.</think>\n\nDog."}}]}
    assert _ask(engine, [["where?"]]) == [["dog"]]
    server.reply = {"choices": [{"message": {"content": "<think>A cat, or"}}]}
    assert _ask(engine, [["where?"]]) == [[NoAnswer("cut", "a cat, or")]]


@pytest.mark.parametrize(
    ("choice", "reply"),
    [
        ({"message": {"content": "Okay, a"}, "finish_reason": "length"}, ("cut", "okay, a")),
        ({"message": {"content": None}, "finish_reason": "length"}, ("cut", "")),
        ({"message": {"content": ""}, "finish_reason": "stop"}, ("empty", "")),
        ({"message": {"content": None}, "finish_reason": "stop"}, ("empty", "")),
        ({"message": {"content": "A c"}, "finish_reason": "content_filter"}, ("refused", "A c")),
        (
            {"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"},
            ("refused", "No."),
        ),
        ({"message": {"content": "I'm sorry, I can't."}}, ("refused", "i'm sorry, i can't")),
        ({"message": {"content": "A dog"}, "finish_reason": "stop"}, "a dog"),
        ({"message": {"content": "A dog"}, "finish_reason": "error"}, None),
        ({"message": {"content": None, "tool_calls": []}, "finish_reason": "tool_calls"}, None),
    ],
)
def test_a_reply_is_counted_as_what_it_is(choice, reply):
    assert reply_in(choice) == reply


class Hostile(socketserver.ThreadingTCPServer):
    """A server that sends what it likes: pieces without end, with a pause before each."""

    daemon_threads = True

    def __init__(self, head, pieces, pause=0.0):
        super().__init__(("127.0.0.1", 0), Sender)
        self.pieces, self.pause, self.sent = [head, *pieces], pause, 0
        self.closed = threading.Event()


class Sender(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65536)
        with suppress(OSError):
            for piece in self.server.pieces:
                self.request.sendall(piece)
                self.server.sent += len(piece)
                if self.server.closed.wait(self.server.pause):
                    return


@contextmanager
def _hostile(head, pieces, pause=0.0):
    with Hostile(head, pieces, pause) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.closed.set()
            server.shutdown()
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", HEAD % 10_000])
def test_a_server_that_drips_bytes_is_left_at_the_deadline(head, monkeypatch):
    with _hostile(head, [b" "] * 10_000, pause=0.01) as (_, url):
        (answer,) = _engine(url, timeout=0.1, backoff=0.001).answer([IMAGE], [["a"]], names=["a"])
    assert "does not answer" in str(answer)


def test_a_reply_without_end_is_not_taken_into_memory():
    piece = bytes(2**20)
    with _hostile(HEAD % 2**33, [piece] * 2**13) as (server, url):
        (answer,) = _engine(url).answer([IMAGE], [["a"]], names=["a"])
        assert server.sent < 2**27
    assert "a reply of more than 1,048,576 bytes" in str(answer)


def test_a_packed_reply_is_not_unpacked(server, engine):
    bomb = gzip.compress(bytes(2**24))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    with _hostile(head % len(bomb), [bomb]) as (_, url):
        (answer,) = _engine(url).answer([IMAGE], [["a"]], names=["a"])
    assert isinstance(answer, ValueError)


def test_a_redirection_is_not_followed(server):
    head = b"HTTP/1.1 307 Elsewhere\r\nLocation: %s/chat/completions\r\nContent-Length: 0\r\n\r\n"
    with (
        _hostile(head % server.url.encode(), []) as (_, url),
        pytest.raises(StageError, match="redirects with 307, which is not followed"),
    ):
        _engine(url).answer([IMAGE], [["a"]], names=["a"])
    assert server.requests == []


def test_a_pause_of_an_hour_is_a_minute_and_said(caplog):
    reply = SimpleNamespace(headers={"Retry-After": "3600"})
    assert http._Retry().get_retry_after(reply) == 60.0
    assert "asks for a pause of 3600 s: waiting 60 s" in caplog.text
    assert http._Retry().get_retry_after(SimpleNamespace(headers={})) is None


@pytest.mark.parametrize("said", ["a\x00b", "a\ud800b", "a\x1bb", "a\u202eb", "a\tb", "a\rb"])
def test_characters_that_no_table_holds_are_cleaned(server, engine, said):
    server.reply = {"choices": [{"message": {"content": said}}]}
    ((answer,),) = engine.answer([IMAGE], [["a"]], names=["a"])
    assert answer in ("ab", "a b")
    assert answer.encode()


def test_an_endless_answer_is_an_error(server, engine):
    server.reply = {"choices": [{"message": {"content": "a" * 5000}}]}
    (answer,) = engine.answer([IMAGE], [["a"]], names=["a"])
    assert "an answer of 5,000 characters" in str(answer)


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}\x1b[m", f"{KEY}\u202e"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(StageError, match="API key in MY_KEY holds a line break") as error:
        _engine("http://127.0.0.1:9/v1", key_variable="MY_KEY")
    assert KEY not in str(error.value)


def test_a_line_break_around_a_key_is_left_out(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    _engine(server.url, key_variable="MY_KEY").answer([IMAGE], [["a"]], names=["a"])
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_reason_that_repeats_the_key_is_masked(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n" + KEY.encode() * 3 + b"\r\n\r\n"
    with _hostile(head, [KEY.encode()] * 3) as (_, url):
        engine = _engine(url, key_variable="MY_KEY", timeout=0.2, backoff=0.001)
        (answer,) = engine.answer([IMAGE], [["a"]], names=["a"])
    assert isinstance(answer, ValueError)
    assert KEY not in str(answer)
