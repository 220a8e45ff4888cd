import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
)

from qaclims_ray.corpus import vqa

WORDS = ["what", "is", "above", "under", "the", "?", "boat", "dog", "##s", "sky", "sea", "grass"]
VOCABULARY = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *WORDS, "[DEC]", "[ENC]"]
SEP, DEC, ENC = 2, len(VOCABULARY) - 2, len(VOCABULARY) - 1


def _tiny_blip(seed):
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
    text = {
        **sizes,
        "vocab_size": len(VOCABULARY),
        "encoder_hidden_size": 32,
        "max_position_embeddings": 40,
        "bos_token_id": DEC,
        "sep_token_id": SEP,
        "eos_token_id": SEP,
        "pad_token_id": 0,
    }
    vision = {**sizes, "image_size": 32, "patch_size": 16, "layer_norm_eps": 1e-6}
    model = BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision)).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4)
        # so that answers of many lengths occur
        model.text_decoder.cls.predictions.decoder.bias[SEP] += 2
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint as transformers saves it."""
    folder = tmp_path_factory.mktemp("blip")
    _tiny_blip(0).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizer(
        str(folder / "vocab.txt"), extra_special_tokens=["[DEC]", "[ENC]"]
    ).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def _image(seed, height=40, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _one_at_a_time(model, pixels, questions, **beams):
    answers = []
    for image, asked in zip(pixels, questions, strict=True):
        rows = [
            model.generate(
                torch.tensor([question]), image[None], min_length=1, max_length=10, **beams
            )[0].tolist()
            for question in asked
        ]
        answers.append([row[1 : row.index(SEP)] if SEP in row else row[1:] for row in rows])
    return answers


_question = st.lists(st.integers(5, ENC - 2), min_size=1, max_size=12).map(
    lambda words: [ENC, *words, SEP]
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    questions=st.lists(st.lists(_question, max_size=5), min_size=1, max_size=3),
    token_budget=st.integers(1, 80),
    num_beams=st.integers(1, 4),
)
def test_answers_are_those_of_one_question_at_a_time(seed, questions, token_budget, num_beams):
    alone = _tiny_blip(seed)
    packed = copy.deepcopy(alone)
    vqa.heed_question_mask(packed)
    pixels = torch.randn(len(questions), 3, 32, 32, generator=torch.manual_seed(seed))
    actual = vqa.generate(packed, pixels, questions, token_budget=token_budget, num_beams=num_beams)
    assert actual == _one_at_a_time(alone, pixels, questions, num_beams=num_beams)


def test_without_the_mask_padding_would_be_attended():
    model = _tiny_blip(3)
    states, mask = torch.randn(2, 6, 32), torch.arange(6) < torch.tensor([[6], [2]])
    beams = {"num_beams": 3, "min_length": 1, "max_length": 10}
    alone = vqa.decode_answers(model, states[1:, :2], mask[1:, :2], **beams)
    assert vqa.decode_answers(model, states, mask, **beams)[1:] != alone
    vqa.heed_question_mask(model)
    assert vqa.decode_answers(model, states, mask, **beams)[1:] == alone


@given(st.lists(st.integers(1, 9)), st.integers(1, 30))
def test_groups_are_consecutive_and_within_the_budget(lengths, budget):
    runs = vqa.groups(lengths, budget)
    assert [index for run in runs for index in run] == list(range(len(lengths)))
    for run in runs:
        assert len(run) == 1 or len(run) * max(lengths[index] for index in run) <= budget


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


def test_enc_follows_dec_where_the_vocabulary_lacks_it(folder, tmp_path):
    engine = vqa.BlipEngine(folder)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY[:-2]))
    engine._tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    assert engine._encode("sky")[0] == ENC


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
