import pytest
import torch
from transformers import BlipConfig

from qaclims_ray.benchmark.sizes import choose_sizes, num_pairs
from qaclims_ray.benchmark.vqa import (
    BEAMS,
    LENGTHS,
    SEP,
    answer_one,
    fast_copy,
    random_blip,
    random_questions,
    ways,
)
from qaclims_ray.config.corpus import Questions
from qaclims_ray.model import blip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sizes():
    return choose_sizes(CPU, quick=True)


@pytest.mark.parametrize("end_bias", [0.0, 5.0])
def test_the_published_way_gives_the_same_answers(sizes, end_bias):
    """Answers that are never ended, as in a benchmark, and answers that are."""
    model = random_blip(sizes.blip, image_size=sizes.blip_side)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.ndim > 1 else 1)  # so that answers differ
        model.text_decoder.cls.predictions.decoder.bias[SEP] += end_bias
    pixels = torch.randn(2, 3, sizes.blip_side, sizes.blip_side, generator=torch.manual_seed(1))
    questions = [random_questions(n)[::3] for n in num_pairs(2)]
    asked = zip(pixels, questions, strict=True)
    alone = [[answer_one(model, image[None], q, **BEAMS) for q in many] for image, many in asked]
    packed = blip.generate(
        fast_copy(model, "float32"), pixels, questions, token_budget=100, **BEAMS
    )
    assert packed == alone
    answers = [tuple(answer) for many in alone for answer in many]
    assert len(set(answers)) > 1
    assert (min(map(len, answers)) == 9) == (end_bias == 0)


def test_ways_do_what_they_say(sizes):
    (ours, run), (published, run_published) = ways(CPU, sizes).items()
    assert (ours.kind, published.kind) == ("ours", "published")
    assert [len(asked) for asked in run()] == [32, 16]
    assert ours.num_units == 48
    assert len(run_published()) == 9
    assert published.num_units == 1


def test_as_many_questions_as_published():
    assert len(LENGTHS) == Questions().num_templates


def test_real_dimensions_are_those_of_blip_base(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "qaclims_ray.benchmark.vqa.BlipForQuestionAnswering",
        lambda config: seen.append(config) or torch.nn.Linear(2, 2),
    )
    random_blip()
    config: BlipConfig = seen[0]
    assert (config.vision_config.hidden_size, config.vision_config.num_hidden_layers) == (768, 12)
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (480, 16)
    assert (config.text_config.hidden_size, config.text_config.vocab_size) == (768, 30524)
