import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import BertTokenizer, BlipImageProcessorPil

from qaclims_ray.corpus.engines import base as vqa

WORDS = ["what", "is", "above", "under", "the", "?", "boat", "dog", "##s", "sky", "sea", "grass"]
VOCABULARY = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *WORDS, "[DEC]", "[ENC]"]
SEP, DEC, ENC = 2, len(VOCABULARY) - 2, len(VOCABULARY) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_blip):
    """A checkpoint as transformers saves it."""
    folder = tmp_path_factory.mktemp("blip")
    tiny_blip(0).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizer(
        str(folder / "vocab.txt"), extra_special_tokens=["[DEC]", "[ENC]"]
    ).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def _image(seed, height=40, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _ask(engine, images, questions):
    return engine.answer(images, questions, names=[str(n) for n in range(len(images))])


def test_engine_answers_in_order_whatever_is_asked_beside(folder):
    engine = vqa.BlipEngine(folder)
    images = [_image(0), _image(1, 20, 50), _image(2)]
    questions = [
        ["what is above the boat?", "what is under the dogs?"],
        [],
        ["what is the dog?", "is the sky under the boat?", "what is above the boat?"],
    ]
    answers = _ask(engine, images, questions)
    assert [len(row) for row in answers] == [2, 0, 3]
    for image, asked, row in zip(images, questions, answers, strict=True):
        assert row == [_ask(engine, [image], [[question]])[0][0] for question in asked]
    assert _ask(engine, images[:1], [[]]) == [[]]


def test_engine_is_the_same_under_any_budget_and_changes_no_image(folder):
    images = [_image(0), _image(1)]
    before = [image.copy() for image in images]
    questions = [["what is above the boat?", "what is the sea?"]] * 2
    wide, narrow = (
        _ask(vqa.BlipEngine(folder, token_budget=budget), images, questions) for budget in (2048, 5)
    )
    assert wide == narrow
    for image, copied in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, copied)


def test_engine_reads_read_only_images(folder):
    image = _image(0)
    image.flags.writeable = False
    assert _ask(vqa.BlipEngine(folder), [image], [["what is the sea?"]])


def test_questions_start_with_enc_and_end_with_sep_after_truncation(folder):
    engine = vqa.BlipEngine(folder)
    tokens = engine._encode("what is above the boats ?" * 9)
    assert tokens[:4] == [ENC, *(VOCABULARY.index(word) for word in ("what", "is", "above"))]
    assert (len(tokens), tokens[-1]) == (35, SEP)


def test_a_vocabulary_without_enc_and_dec_does(folder, tmp_path):
    """As in the converted checkpoints on the Hub."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY[:-2]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    engine = vqa.BlipEngine(str(tmp_path))
    assert engine._encode("sky") == [ENC, VOCABULARY.index("sky"), SEP]
    assert engine._decode([VOCABULARY.index("sky"), DEC]) == "sky"


def test_pixels_are_the_published_preprocessing(folder):
    published = v2.Compose(
        [
            v2.Resize((32, 32), interpolation=v2.InterpolationMode.BICUBIC),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    for size in ((40, 30), (3, 50)):
        image = _image(0, *size)
        actual = vqa.BlipEngine(folder)._pixels([image])[0]
        torch.testing.assert_close(actual, published(Image.fromarray(image)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_engine_computes_in_the_type_asked_for(folder, dtype):
    """Most answers survive the rounding even of random weights."""
    images = [_image(seed) for seed in range(4)]
    questions = [["what is the sea?", "what is above the dog?", "is the sky grass?"]] * 4
    engine = vqa.BlipEngine(folder, dtype=dtype)
    assert engine._pixels(images).dtype == dtype
    answers = np.array(_ask(engine, images, questions))
    assert (answers == np.array(_ask(vqa.BlipEngine(folder), images, questions))).mean() > 0.6


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.slow
def test_a_compiled_engine_answers_the_same(folder):
    images = [_image(0), _image(1), _image(2)]
    questions = [["what is the sea?", "what is above the dog?"]] * 3
    compiled = vqa.BlipEngine(folder, compile=True)
    for number in (3, 1):
        assert _ask(compiled, images[:number], questions[:number]) == _ask(
            vqa.BlipEngine(folder), images[:number], questions[:number]
        )


@pytest.mark.slow
def test_without_a_compiler_the_option_is_named(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    with pytest.raises(ValueError, match=r"corpus\.engine\.compile: torch\.compile fails on cpu"):
        vqa.BlipEngine(folder, compile=True)


def test_answers_are_words_without_special_tokens(folder):
    engine = vqa.BlipEngine(folder)
    dogs = [VOCABULARY.index("dog"), VOCABULARY.index("##s"), 0, DEC]
    assert engine._decode(dogs) == "dogs"


def test_table_engine_looks_questions_up():
    engine = vqa.TableEngine({"what is under the boat?": "water"})
    assert _ask(engine, [_image(0)] * 2, [["what is under the boat?"], []]) == [["water"], []]
    with pytest.raises(ValueError, match=r"no answer to 'what is the sky\?'"):
        _ask(engine, [_image(0)], [["what is the sky?"]])
