import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.corpus.engines import blip

SEP, ENC = 2, 18


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
def test_groups_are_consecutive_and_within_the_budget(lengths, budget):
    runs = blip.groups(lengths, budget)
    assert [index for run in runs for index in run] == list(range(len(lengths)))
    for run in runs:
        assert len(run) == 1 or len(run) * max(lengths[index] for index in run) <= budget


def test_fused_attention_is_the_same(tiny_blip):
    model = tiny_blip(0)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.vision_model(pixels).last_hidden_state
        actual = blip.prepare(model).vision_model(pixels).last_hidden_state
    torch.testing.assert_close(actual, expected)
    assert set(model.state_dict()) == set(tiny_blip(0).state_dict())
