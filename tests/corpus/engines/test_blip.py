import copy
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from transformers import BertTokenizer, BlipImageProcessorPil

from qaclims_ray.config.corpus import Blip
from qaclims_ray.corpus.engines import blip as blip_engine
from qaclims_ray.corpus.engines.blip import BlipEngine, image_fit
from qaclims_ray.model import blip
from tests.waits import counted_waits

WORDS = ["what", "is", "above", "under", "the", "?", "boat", "dog", "##s", "sky", "sea", "grass"]
VOCABULARY = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *WORDS, "[DEC]", "[ENC]"]
SEP, DEC, ENC = 2, len(VOCABULARY) - 2, len(VOCABULARY) - 1  # those of `tiny_blip`


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


def _engine(folder, **options):
    return BlipEngine(Blip(kind="blip", model=str(folder), **options), "cpu")


def _image(seed, height=40, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _ask(engine, images, questions):
    return engine.answer(images, questions, names=[str(n) for n in range(len(images))])


def test_engine_answers_in_order_whatever_is_asked_beside(folder):
    engine = _engine(folder)
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
    found, wide, narrow = (
        _ask(_engine(folder, token_budget=budget), images, questions) for budget in (None, 2048, 5)
    )
    assert found == wide == narrow
    for image, copied in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, copied)


def test_engine_reads_read_only_images(folder):
    image = _image(0)
    image.flags.writeable = False
    assert _ask(_engine(folder), [image], [["what is the sea?"]])


def test_a_batch_is_copied_while_the_device_is_at_the_one_before(folder, monkeypatch):
    """Two threads, as where an actor has a GPU: the first can't end before the second has sent."""
    engine = _engine(folder)
    images, questions = [_image(0), _image(1)], [["what is the sea?", "what is above the dog?"]]
    expected = [_ask(engine, [image], questions) for image in images]
    is_busy, has_sent, at_once = threading.Event(), threading.Event(), threading.Lock()
    sent, generate = engine._sent, blip_engine.generate

    def send(pixels):
        made = sent(pixels)
        if is_busy.is_set():
            has_sent.set()
        return made

    def compute(*arguments, **options):
        assert at_once.acquire(blocking=False), "two batches on the device"
        is_busy.set()
        assert has_sent.wait(60)
        at_once.release()
        return generate(*arguments, **options)

    monkeypatch.setattr(engine, "_sent", send)
    monkeypatch.setattr(blip_engine, "generate", compute)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(_ask, engine, images[:1], questions)
        assert is_busy.wait(60)
        second = pool.submit(_ask, engine, images[1:], questions)
        assert [first.result(), second.result()] == expected


def test_sending_images_waits_for_nothing(folder):
    """Tensors of torch's meta device have no numbers: to ask for one is an error."""
    engine = _engine(folder)
    engine._model.to("meta")
    engine._levels = engine._levels.to("meta")
    pixels = engine._pixels(engine._sent([_image(0), _image(1)]))
    assert (pixels.device.type, pixels.shape) == ("meta", (2, 3, 32, 32))


def test_questions_start_with_enc_and_end_with_sep_after_truncation(folder):
    engine = _engine(folder)
    tokens = engine._encode("what is above the boats ?" * 9)
    assert tokens[:4] == [ENC, *(VOCABULARY.index(word) for word in ("what", "is", "above"))]
    assert (len(tokens), tokens[-1]) == (35, SEP)


def test_a_vocabulary_without_enc_and_dec_does(folder, tmp_path):
    """As in the converted checkpoints on the Hub."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY[:-2]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    engine = _engine(tmp_path)
    assert engine._encode("sky") == [ENC, VOCABULARY.index("sky"), SEP]
    assert engine._decode((VOCABULARY.index("sky"), DEC)) == "sky"


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
        engine = _engine(folder)
        actual = engine._pixels(engine._sent([image]))[0]
        torch.testing.assert_close(actual, published(Image.fromarray(image)))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_engine_computes_in_the_type_asked_for(folder, precision):
    """Most answers survive the rounding even of random weights."""
    images = [_image(seed) for seed in range(4)]
    questions = [["what is the sea?", "what is above the dog?", "is the sky grass?"]] * 4
    engine = _engine(folder, precision=precision)
    assert engine._pixels(engine._sent(images)).dtype == getattr(torch, precision)
    answers = np.array(_ask(engine, images, questions))
    assert (answers == np.array(_ask(_engine(folder), images, questions))).mean() > 0.6


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.slow
def test_a_compiled_engine_answers_the_same(folder):
    images = [_image(0), _image(1), _image(2)]
    questions = [["what is the sea?", "what is above the dog?"]] * 3
    compiled = _engine(folder, compile=True)
    for number in (3, 1):
        assert _ask(compiled, images[:number], questions[:number]) == _ask(
            _engine(folder), images[:number], questions[:number]
        )


@pytest.mark.slow
def test_without_a_compiler_the_option_is_named(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    with pytest.raises(ValueError, match=r"corpus\.engine\.compile: torch\.compile fails on cpu"):
        _engine(folder, compile=True)


def test_answers_are_words_without_special_tokens(folder):
    engine = _engine(folder)
    dogs = (VOCABULARY.index("dog"), VOCABULARY.index("##s"), 0, DEC)
    assert engine._decode(dogs) == "dogs"


def _one_at_a_time(model, pixels, questions, **beams):
    answers = []
    for image, asked in zip(pixels, questions, strict=True):
        rows = [
            model.generate(torch.tensor([question]), image[None], **beams)[0].tolist()
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
def test_answers_are_those_of_one_question_at_a_time(
    tiny_blip, seed, questions, token_budget, num_beams
):
    alone = tiny_blip(seed)
    packed = copy.deepcopy(alone)
    blip.prepare(packed)
    pixels = torch.randn(len(questions), 3, 32, 32, generator=torch.manual_seed(seed))
    beams = {"num_beams": num_beams, "min_length": 1, "max_length": 10}
    actual = blip.generate(packed, pixels, questions, token_budget=token_budget, **beams)
    assert actual == _one_at_a_time(alone, pixels, questions, **beams)


def test_without_the_mask_padding_would_be_attended(tiny_blip):
    model = tiny_blip(3)
    states, mask = torch.randn(2, 6, 32), torch.arange(6) < torch.tensor([[6], [2]])
    beams = {"num_beams": 3, "min_length": 1, "max_length": 10}
    alone = blip.decode_answers(model, states[1:, :2], mask[1:, :2], **beams)
    assert blip.decode_answers(model, states, mask, **beams)[1:] != alone
    blip.prepare(model)
    assert blip.decode_answers(model, states, mask, **beams)[1:] == alone


@given(
    lengths=st.lists(st.lists(st.integers(3, 9), max_size=9), min_size=1, max_size=4),
    token_budget=st.integers(1, 60),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_no_more_is_encoded_or_decoded_at_once_than_the_budget_allows(
    tiny_blip, lengths, token_budget
):
    model = blip.prepare(tiny_blip(0))
    sizes = []

    def note(_module, args, kwargs):
        sizes.append(kwargs["input_ids"].shape)

    def note_beams(**inputs):
        sizes.append(inputs["encoder_hidden_states"].shape[:2])
        return torch.full((len(inputs["input_ids"]), 2), SEP)

    model.text_encoder.register_forward_pre_hook(note, with_kwargs=True)
    model.text_decoder.generate = note_beams
    questions = [[[ENC, *[5] * (n - 2), SEP] for n in asked] for asked in lengths]
    pixels = torch.zeros(len(lengths), 3, 32, 32)
    answers = blip.generate(model, pixels, questions, token_budget=token_budget)
    assert [len(row) for row in answers] == [len(row) for row in questions]
    for rows, tokens in sizes:
        # what exceeds the budget alone stands alone
        assert rows * tokens <= token_budget or rows == 1


@given(st.lists(st.integers(1, 9)), st.integers(1, 30))
def test_groups_hold_all_and_are_within_the_budget(lengths, budget):
    runs = blip.groups(lengths, budget)
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    for run in runs:
        assert len(run) == 1 or len(run) * max(lengths[index] for index in run) <= budget


def test_groups_are_even_and_waste_little():
    # The questions about 16 images, of which 204 fit into a budget of 2,048: 20 ran alone.
    assert [len(run) for run in blip.groups([10] * 224, 2048)] == [112, 112]
    lengths = [3, 9] * 50
    runs = blip.groups(lengths, 300)
    padded = sum(len(run) * max(lengths[index] for index in run) for run in runs)
    assert padded <= 1.1 * sum(lengths)
    assert blip.groups([], 7) == []


def test_questions_are_encoded_without_waiting_for_the_device(tiny_blip):
    """Tensors of torch's meta device have no numbers: to ask for one is an error."""
    model = blip.prepare(tiny_blip(0)).to("meta")
    image_states = torch.zeros(2, 5, 32, device="meta")
    packs = [[[ENC, 5, SEP], [ENC, SEP]], [[ENC, 5, 5, 5, SEP]]]
    states, mask = blip.encode_questions(model, image_states, packs)
    assert states.shape[:2] == mask.shape == (3, 5)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_decoding_step_waits_once(tiny_blip, num_beams):
    """Which is the question of transformers whether any answer goes on; a group waits six times."""
    model = blip.prepare(tiny_blip(0))
    model.text_decoder.cls.predictions.decoder.bias.data[SEP] = -1e4  # no answer ends early
    states, mask = torch.randn(4, 6, 32), torch.arange(6) < torch.tensor([[6], [2], [3], [4]])
    counts = []
    for max_length in (4, 9):
        with torch.inference_mode(), counted_waits("cpu") as waits:
            answers = blip.decode_answers(
                model, states, mask, num_beams=num_beams, min_length=1, max_length=max_length
            )
        assert {len(answer) for answer in answers} == {max_length - 1}
        counts.append(waits.total() - (max_length - 1))
    assert counts[0] == counts[1] <= 6


def test_images_may_come_at_the_size_that_the_model_sees(folder):
    engine, image = _engine(folder), _image(0, 40, 30)
    fit = image_fit(Blip(kind="blip", model=str(folder)))
    assert fit(image).shape == (32, 32, 3)
    assert torch.equal(engine._sent([fit(image)]), engine._sent([image]))


def test_fused_attention_is_the_same(tiny_blip):
    model = tiny_blip(0)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.vision_model(pixels).last_hidden_state
        actual = blip.prepare(model).vision_model(pixels).last_hidden_state
    torch.testing.assert_close(actual, expected)
    assert set(model.state_dict()) == set(tiny_blip(0).state_dict())


def test_options_of_the_section_reach_the_generation(folder, monkeypatch):
    seen = {}
    generate = "qaclims_ray.corpus.engines.blip.generate"
    monkeypatch.setattr(generate, lambda *_, **options: seen.update(options) or [[[5]]])
    engine = _engine(folder, token_budget=7, num_beams=2, max_length=5)
    assert _ask(engine, [_image(0)], [["what is the sea?"]]) == [["what"]]
    assert seen == {"token_budget": 7, "num_beams": 2, "min_length": 1, "max_length": 5}
