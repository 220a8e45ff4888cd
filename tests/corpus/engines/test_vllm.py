"""Chats go to vLLM and its texts come back as answers.

vLLM needs a GPU and a torch of its own, so a stand-in with the same interface takes its place: a
module `vllm` whose `LLM.chat` says back what it sees. What is passed to it is held against the real
signatures where vLLM is installed.
"""

import inspect
import re
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from qaclims_ray.config.corpus import Vllm
from qaclims_ray.corpus.engines.vllm import VllmEngine, chat_about, llm_options
from qaclims_ray.corpus.stage import Answerer
from qaclims_ray.images.decoded import decode_table
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import map_here
from qaclims_ray.run.faults import StageError
from qaclims_ray.run.publish import publish
from qaclims_ray.run.tables import read_errors, read_table

POISON = 66
"""Shade of an image that ends the engine's process."""


class EngineDeadError(Exception):
    pass


class LLM:
    """Answers "<shade> <question>", as chat models do; a dead one never answers again."""

    started = []
    chats = []

    def __init__(self, model, *, tensor_parallel_size=1, dtype="auto", **engine_args):
        self.arguments = {"model": model, "tensor_parallel_size": tensor_parallel_size}
        self.arguments |= {"dtype": dtype, **engine_args}
        self.dead = False
        LLM.started.append(self)

    def chat(
        self,
        messages,
        sampling_params=None,
        use_tqdm=True,
        *,
        chat_template=None,
        chat_template_content_format="auto",
    ):
        shown = [one[0]["content"] for one in messages]
        shades = [int(np.asarray(picture["image_pil"])[0, 0, 0]) for picture, _ in shown]
        self.dead |= POISON in shades
        if self.dead:
            raise EngineDeadError("EngineCore encountered an issue")
        LLM.chats.append((messages, sampling_params, use_tqdm, chat_template_content_format))
        texts = [
            f" {shade} {text['text']}.\n" for shade, (_, text) in zip(shades, shown, strict=True)
        ]
        return [SimpleNamespace(outputs=[_output(text)]) for text in texts]


def _output(text):
    """What is asked for in brackets is why the model stopped."""
    reason = re.search(r"\[(\w+)\]", text)
    return SimpleNamespace(text=text, finish_reason=reason[1] if reason else "stop")


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    """The stand-in, in place of the package."""
    LLM.started, LLM.chats = [], []
    stand_in = ModuleType("vllm")
    stand_in.__spec__ = ModuleSpec("vllm", None)
    stand_in.LLM = LLM
    stand_in.SamplingParams = lambda **options: options
    exceptions = ModuleType("vllm.v1.engine.exceptions")
    exceptions.EngineDeadError = EngineDeadError
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    for name in ("vllm.v1", "vllm.v1.engine"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, exceptions.__name__, exceptions)
    return stand_in


def _image(shade):
    return np.full((6, 8, 3), shade, np.uint8)


def _section(**options):
    return Vllm(**{"kind": "vllm", "model": "m", "instruction": "Be short", **options})


def _ask(engine, shades, questions):
    images = [_image(shade) for shade in shades]
    return engine.answer(images, questions, names=[str(shade) for shade in shades])


def test_a_chat_shows_the_image_as_it_is_and_then_asks():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    (message,) = chat_about(Image.fromarray(image), "which cat? Be short")
    picture, text = message["content"]
    assert message["role"] == "user"
    assert text == {"type": "text", "text": "which cat? Be short"}
    assert picture["type"] == "image_pil"
    np.testing.assert_array_equal(np.asarray(picture["image_pil"]), image)


def test_answers_go_to_the_question_of_their_image_and_a_batch_is_asked_at_once():
    engine = VllmEngine(_section(), 1)
    asked = [["Which cat?", "where?"], [], ["who?"]]
    assert _ask(engine, [7, 8, 9], asked) == [
        ["7 which cat? be short", "7 where? be short"],
        [],
        ["9 who? be short"],
    ]
    ((chats, _, _, _),) = LLM.chats
    assert len(chats) == 3
    assert chats[0][0]["content"][0]["image_pil"] is chats[1][0]["content"][0]["image_pil"]


def test_decoding_is_greedy_and_bounded_and_shows_no_bar_of_its_own():
    _ask(VllmEngine(_section(max_new_tokens=7, content="text"), 1), [7], [["where?"]])
    ((_, sampling, shows_bar, content_format),) = LLM.chats
    assert sampling == {"temperature": 0.0, "max_tokens": 7}
    assert (shows_bar, content_format) == (False, "string")


def test_without_a_question_nothing_is_asked():
    engine = VllmEngine(_section(), 1)
    assert _ask(engine, [7, 8], [[], []]) == [[], []]
    assert _ask(engine, [], []) == []
    assert LLM.chats == []


def test_an_answer_that_is_none_is_counted_as_what_it_is():
    asked = [["a?"], ["b?", "<think> c?", "d? [length]"], ["e? [abort]"]]
    good, cut, bad = _ask(VllmEngine(_section(), 1), [7, 8, 9], asked)
    assert good == ["7 a? be short"]
    assert cut[0] == "8 b? be short"
    assert [reply.fault for reply in cut[1:]] == ["cut", "cut"]
    assert "ended a chat with 'abort'" in str(bad)


def test_texts_that_are_no_answers_to_these_chats_are_refused(monkeypatch):
    """Of an aborted batch, say."""
    engine = VllmEngine(_section(), 1)
    chat = LLM.chat
    monkeypatch.setattr(LLM, "chat", lambda self, chats, *a, **k: 2 * chat(self, chats, *a, **k))
    with pytest.raises(ValueError, match="zip"):
        _ask(engine, [7], [["where?"]])


def test_the_model_is_loaded_with_prefix_caching_and_for_one_image():
    VllmEngine(_section(model="package:demo/weights", precision="bfloat16"), 1)
    (llm,) = LLM.started
    model = llm.arguments.pop("model")
    assert model.endswith("qaclims_ray/demo/weights")
    assert llm.arguments == {
        "tensor_parallel_size": 1,
        "dtype": "bfloat16",
        "enable_prefix_caching": True,
        "limit_mm_per_prompt": {"image": 1},
    }


def test_engine_kwargs_add_to_our_options_and_replace_them():
    kwargs = {"max_model_len": 512, "enable_prefix_caching": False}
    options = llm_options(_section(engine_kwargs=kwargs), 1)
    assert kwargs.items() <= options.items()
    assert options["limit_mm_per_prompt"] == {"image": 1}


@pytest.mark.parametrize(
    ("num_gpus", "kwargs", "tensor_parallel_size"),
    [
        (1, {}, 1),
        (4, {}, 4),
        (4, {"tensor_parallel_size": 4}, 4),
        (4, {"pipeline_parallel_size": 2}, 2),
        (4, {"pipeline_parallel_size": 2, "tensor_parallel_size": 2}, 2),
    ],
)
def test_the_model_is_spread_over_all_gpus_of_the_actor(num_gpus, kwargs, tensor_parallel_size):
    options = llm_options(_section(engine_kwargs=kwargs), num_gpus)
    assert options["tensor_parallel_size"] == tensor_parallel_size


@pytest.mark.parametrize(
    ("num_gpus", "kwargs", "wanted"),
    [
        (1, {"tensor_parallel_size": 4}, 4),
        (4, {"tensor_parallel_size": 2}, 2),
        (3, {"pipeline_parallel_size": 2}, 2),
    ],
)
def test_another_number_of_gpus_than_the_actor_has_is_refused(num_gpus, kwargs, wanted):
    with pytest.raises(ValueError, match=rf"set compute\.corpus\.num_gpus={wanted}, or"):
        VllmEngine(_section(engine_kwargs=kwargs), num_gpus)


def test_without_vllm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("qaclims_ray.corpus.engines.vllm.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'qaclims_ray\[vllm\]'"):
        VllmEngine(_section(), 1)


def test_a_vllm_that_died_is_started_again_by_the_next_call():
    engine = VllmEngine(_section(), 1)
    with pytest.raises(EngineDeadError):
        _ask(engine, [7, POISON], [["a?"], ["a?"]])
    assert len(LLM.started) == 1
    assert _ask(engine, [7], [["a?"]]) == [["7 a? be short"]]
    assert len(LLM.started) == 2


def test_a_vllm_that_does_not_start_again_stops_the_stage(vllm):
    engine = VllmEngine(_section(), 1)
    with pytest.raises(EngineDeadError):
        _ask(engine, [POISON], [["a?"]])

    def fail(**_):
        raise RuntimeError("no free memory")

    vllm.LLM = fail
    with pytest.raises(StageError, match="died and can't be started again: no free memory"):
        _ask(engine, [7], [["a?"]])


def test_an_image_that_kills_vllm_costs_no_other_its_answers(make_experiment, tmp_path, png):
    """The actor of the stage, without Ray."""
    engine = {"kind": "vllm", "model": "m", "instruction": "Be short", "min_side": 6}
    experiment = make_experiment(
        tmp_path,
        {
            "corpus.engine": engine,
            "corpus.questions": {"foreground": ["which {}?"], "background": []},
            "data.max_errors": 2,
        },
    )
    shades = [1, 2, POISON, 4, 5]
    rows = [{"name": f"i{s:02d}", "image": png(_image(s)), "labels": [0]} for s in shades]
    rows.append({**rows[0], "name": "torn", "image": b"no image"})
    target = Artifact("corpus", str(tmp_path / "corpus"), {})
    images = decode_table(pa.Table.from_pylist(rows))
    map_here([images], target, partial(Answerer, experiment, ["cat"], target))
    assert publish(target, shard_megabytes=1.0, max_errors=2, expected=6) == (4, 2)
    answers = {row["name"]: row["answers"][0]["answer"] for row in read_table(target).to_pylist()}
    assert answers == {f"i{s:02d}": f"{s} which cat? be short" for s in (1, 2, 4, 5)}
    reasons = {row["name"]: row["reason"] for row in read_errors(target).to_pylist()}
    assert reasons["i66"] == "EngineDeadError: EngineCore encountered an issue"
    assert reasons["torn"].startswith("ValueError: ")


def test_the_real_vllm_takes_what_we_pass(monkeypatch):
    monkeypatch.undo()
    real = pytest.importorskip("vllm")
    from vllm.v1.engine.exceptions import EngineDeadError as RealEngineDeadError

    options = llm_options(_section(), 1)
    inspect.signature(real.LLM).bind(**options)
    call = {"use_tqdm": False, "chat_template_content_format": "openai"}
    inspect.signature(real.LLM.chat).bind(None, [], None, **call)
    assert {*options} <= {*inspect.signature(real.EngineArgs).parameters}
    assert real.SamplingParams(temperature=0.0, max_tokens=10).max_tokens == 10
    assert issubclass(RealEngineDeadError, Exception)
