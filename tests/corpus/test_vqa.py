import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import BertTokenizer, BlipImageProcessorPil

from qaclims_ray.corpus import vqa

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


def test_engine_answers_in_order_whatever_is_asked_beside(folder):
    engine = vqa.BlipEngine(folder)
    images = [_image(0), _image(1, 20, 50), _image(2)]
    questions = [
        ["what is above the boat?", "what is under the dogs?"],
        [],
        ["what is the dog?", "is the sky under the boat?", "what is above the boat?"],
    ]
    answers = engine.answer(images, questions)
    assert [len(row) for row in answers] == [2, 0, 3]
    for image, asked, row in zip(images, questions, answers, strict=True):
        assert row == [engine.answer([image], [[question]])[0][0] for question in asked]
    assert engine.answer(images[:1], [[]]) == [[]]


def test_engine_is_the_same_under_any_budget_and_changes_no_image(folder):
    images = [_image(0), _image(1)]
    before = [image.copy() for image in images]
    questions = [["what is above the boat?", "what is the sea?"]] * 2
    wide, narrow = (
        vqa.BlipEngine(folder, token_budget=budget).answer(images, questions)
        for budget in (2048, 5)
    )
    assert wide == narrow
    for image, copied in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, copied)


def test_engine_reads_read_only_images(folder):
    image = _image(0)
    image.flags.writeable = False
    assert vqa.BlipEngine(folder).answer([image], [["what is the sea?"]])


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


def test_engine_computes_in_the_type_asked_for(folder):
    engine = vqa.BlipEngine(folder, dtype=torch.bfloat16)
    answers = engine.answer([_image(0)], [["what is the sea?", "what is above the dog?"]])
    assert len(answers[0]) == 2


def test_answers_are_words_without_special_tokens(folder):
    engine = vqa.BlipEngine(folder)
    dogs = [VOCABULARY.index("dog"), VOCABULARY.index("##s"), 0, DEC]
    assert engine._decode(dogs) == "dogs"


def test_table_engine_looks_questions_up():
    engine = vqa.TableEngine({"what is under the boat?": "water"})
    assert engine.answer([_image(0)] * 2, [["what is under the boat?"], []]) == [["water"], []]
    with pytest.raises(ValueError, match=r"no answer to 'what is the sky\?'"):
        engine.answer([_image(0)], [["what is the sky?"]])
