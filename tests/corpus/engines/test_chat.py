import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.corpus import Chat
from qaclims_ray.corpus.engines.chat import ChatEngine

FAMILIES = ["llava", "idefics3", "qwen2_vl"]
WORDS = ["what", "is", "above", "under", "the", "boat", "dog", "one", "or"]


def _engine(folder, **options):
    return ChatEngine(Chat(kind="chat", model=str(folder), **options), "cpu")


def _image(seed, height=40, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _ask(engine, images, questions):
    return engine.answer(images, questions, names=[str(n) for n in range(len(images))])


def _changed(folder, target, file, change):
    """A copy of a model with another JSON file."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    path = Path(target) / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return str(target)


@pytest.fixture(scope="module", params=FAMILIES)
def engines(request, tiny_chat):
    """The same model twice: image and start of the prompts encoded once, and a prompt for each."""
    shared = _engine(tiny_chat(request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChatEngine, "_can_share", lambda _: False)
        alone = _engine(tiny_chat(request.param), batch_size=1)
    return shared, alone


_questions = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), max_size=6
)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    asked=st.lists(_questions, min_size=1, max_size=3),
    sides=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    batch_size=st.integers(1, 5),
)
def test_answers_are_those_of_one_question_at_a_time(engines, asked, sides, batch_size):
    shared, alone = engines
    assert shared._shares
    shared._batch_size = batch_size
    images = [_image(seed, *sides) for seed in range(len(asked))]
    assert _ask(shared, images, asked) == _ask(alone, images, asked)


def test_an_image_is_processed_and_encoded_once(engines, monkeypatch):
    shared, _ = engines
    processed, encoded = [], []
    inputs, encode = shared._inputs, shared._encode
    monkeypatch.setattr(shared, "_inputs", lambda *a: processed.append(a) or inputs(*a))
    monkeypatch.setattr(shared, "_encode", lambda *a: encoded.append(a) or encode(*a))
    _ask(shared, [_image(0), _image(1)], [["what", "what is", "dog"], ["boat", "the dog"]])
    assert (len(processed), len(encoded)) == (2, 2)


def test_an_image_is_processed_while_the_device_is_at_another(engines, monkeypatch):
    """Two threads, as where an actor has a GPU: neither can go on before the other is as far."""
    shared, alone = engines
    for engine, step in ((shared, "_encode"), (alone, "_generate")):
        images, questions = [_image(0), _image(1)], [["what is the dog ?", "boat"]]
        expected = [_ask(engine, [image], questions) for image in images]
        processed, is_busy = threading.Barrier(2), threading.Lock()
        inputs, compute = engine._inputs, getattr(engine, step)
        meets = iter([True, True])

        def process(*arguments, inputs=inputs, meets=meets, processed=processed):
            made = inputs(*arguments)
            if next(meets, False):
                processed.wait(60)
            return made

        def at_device(*arguments, compute=compute, is_busy=is_busy):
            assert is_busy.acquire(blocking=False), "two batches on the device"
            try:
                return compute(*arguments)
            finally:
                is_busy.release()

        monkeypatch.setattr(engine, "_inputs", process)
        monkeypatch.setattr(engine, step, at_device)
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(_ask, engine, [image], questions) for image in images]
            assert [one.result() for one in asked] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_depend_on_image_question_and_instruction(tiny_chat, family):
    engine = _engine(tiny_chat(family))
    questions = ["what is above the boat ?", "what is the dog ?", "is one or the boat ?"]
    first, second = _ask(engine, [_image(0), _image(1)], [questions, questions])
    assert first != second
    assert len(set(first)) > 1
    other = _engine(tiny_chat(family), instruction="one or the dog")
    assert _ask(other, [_image(0)], [questions]) != [first]


def test_answers_are_as_short_as_asked_for(tiny_chat):
    engine = _engine(tiny_chat("llava"), max_new_tokens=2)
    [[reply]] = _ask(engine, [_image(0)], [["what is above the boat ?"]])
    assert reply.fault == "cut"
    assert 0 < len(reply.text.split()) <= 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_answer_with_an_end_of_its_own_is_not_cut(tiny_chat, batch_size):
    """Where the tiny model's first word is made its end, the answer before it is whole."""
    questions = ["what is above the boat ?", "the dog", "is one or the boat ?", "under the dog ?"]
    engine = _engine(tiny_chat("llava"), max_new_tokens=3, batch_size=batch_size)
    cut = _ask(engine, [_image(0)], [questions])[0]
    assert {reply.fault for reply in cut} == {"cut"}
    last = engine._processor.tokenizer.convert_tokens_to_ids(cut[0].text.split()[-1])
    engine._model.generation_config.eos_token_id = last
    engine._ends = [last]
    first = _ask(engine, [_image(0)], [questions])[0][0]
    assert isinstance(first, str) or first.fault == "empty"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_16_bits_answer_much_the_same(tiny_chat, family, precision):
    engine = _engine(tiny_chat(family), precision=precision, max_new_tokens=1)
    questions = ["what is above the boat ?", "the dog", "is one or the boat ?", "under the dog ?"]
    images = [_image(seed) for seed in range(4)]
    exact_engine = _engine(tiny_chat(family), max_new_tokens=1)
    answers, exact = (
        np.array([reply.text for row in _ask(one, images, [questions] * 4) for reply in row])
        for one in (engine, exact_engine)
    )
    assert (answers == exact).mean() > 0.6


def test_wrong_positions_are_noticed_when_the_model_is_loaded(tiny_chat, monkeypatch):
    go_on = ChatEngine._go_on

    def without_mask(self, *args):
        inputs = go_on(self, *args)
        return {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}

    monkeypatch.setattr(ChatEngine, "_go_on", without_mask)
    assert not _engine(tiny_chat("llava"))._shares


def _slide(config):
    config["text_config"] |= {"model_type": "mistral", "sliding_window": 5}


def test_a_cache_that_forgets_is_not_shared(tiny_chat, tmp_path):
    engine = _engine(_changed(tiny_chat("llava"), tmp_path, "config.json", _slide))
    assert not engine._shares
    questions = ["what is the dog ?", "boat", "is one or the boat ?"]
    answers = _ask(engine, [_image(0), _image(1)], [questions, []])
    assert [len(row) for row in answers] == [3, 0]
    engine._batch_size = 1
    assert answers == _ask(engine, [_image(0), _image(1)], [questions, []])


def test_a_template_with_the_image_last_shares_nothing(tiny_chat, tmp_path):
    folder = shutil.copytree(tiny_chat("llava"), tmp_path, dirs_exist_ok=True)
    template = "USER: {{ messages[0].content[1].text }} <image> BOT:"
    (Path(folder) / "chat_template.jinja").write_text(template)
    engine = _engine(str(folder))
    assert not engine._shares
    assert len(_ask(engine, [_image(0)], [["what is the dog ?", "boat"]])[0]) == 2


def test_a_model_without_chat_template_is_refused(tiny_chat, tmp_path):
    folder = shutil.copytree(tiny_chat("llava"), tmp_path, dirs_exist_ok=True)
    (Path(folder) / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no processor with a chat template"):
        _engine(str(folder))


def test_a_tokenizer_without_padding_is_refused(tiny_chat, tmp_path):
    folder = _changed(
        tiny_chat("llava"), tmp_path, "tokenizer_config.json", lambda c: c.pop("pad_token")
    )
    with pytest.raises(ValueError, match="has no pad_token"):
        _engine(folder)


def test_a_folders_own_python_file_is_not_run(tmp_path):
    secret = tmp_path / "secret"
    (tmp_path / "own.py").write_text(f"open({str(secret)!r}, 'w').close()\nclass Config: pass\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trust_remote_code"):
        _engine(tmp_path)
    assert not secret.exists()
