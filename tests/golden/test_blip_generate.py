"""Answers of BLIP: all questions at once against one at a time."""

import numpy as np
import pytest
import torch
from transformers import BlipConfig, BlipForQuestionAnswering

from qaclims_ray.model import blip as packed

BEAMS = {"num_beams": 3, "min_length": 1, "max_length": 10}


@pytest.fixture(scope="module")
def blip(golden):
    return golden("blip_generate")


@pytest.fixture(scope="module")
def model(blip, filler):
    config = BlipConfig(
        text_config=blip.meta["text_config"],
        vision_config=blip.meta["vision_config"],
        tie_word_embeddings=False,
    )
    model = BlipForQuestionAnswering(config).eval()
    assert len(filler.fill_module(model)) == len(blip.meta["hf_names"])
    return packed.prepare(model)


def _expected(blip, variant, end):
    """Published sequences without padding, start and end."""
    sequences = blip.arrays["hf_sequences"][variant, :, :, 1:]
    return [
        [[token for token in row.tolist() if token >= 0 and token != end] for row in image]
        for image in sequences
    ]


@pytest.mark.parametrize("token_budget", [1, 20, 2048])
def test_answers(blip, model, token_budget):
    pixels = torch.tensor(blip.arrays["images"])
    for variant, end in enumerate(blip.meta["eos_variants"]):
        model.config.text_config.sep_token_id = end
        answers = packed.generate(
            model, pixels, [blip.meta["questions"]] * 2, token_budget=token_budget, **BEAMS
        )
        assert answers == _expected(blip, variant, end)


def test_states_of_packed_questions(blip, model):
    questions = blip.meta["questions"]
    with torch.inference_mode():
        images = model.vision_model(torch.tensor(blip.arrays["images"])).last_hidden_state
        states, mask = packed.encode_questions(model, images, [questions, questions])
    for row, (image, question) in enumerate(np.ndindex(2, len(questions))):
        np.testing.assert_allclose(
            states[row][mask[row]],
            blip.arrays[f"question_embeds_i{image}_q{question}"],
            rtol=1e-4,
            atol=1e-5,
        )
    for image in range(2):
        np.testing.assert_allclose(
            images[image], blip.arrays[f"image_embeds_{image}"], rtol=1e-4, atol=1e-5
        )


def test_scores_of_answers(blip, model, monkeypatch):
    scores = []
    generate = model.text_decoder.generate

    def generate_with_scores(**arguments):
        made = generate(**arguments, return_dict_in_generate=True, output_scores=True)
        scores.extend(made.sequences_scores.tolist())
        return made.sequences

    monkeypatch.setattr(model.text_decoder, "generate", generate_with_scores)
    pixels = torch.tensor(blip.arrays["images"])
    for variant, end in enumerate(blip.meta["eos_variants"]):
        model.config.text_config.sep_token_id = end
        packed.generate(model, pixels, [blip.meta["questions"]] * 2, token_budget=2048, **BEAMS)
        expected = blip.arrays["hf_scores"][variant].ravel()
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
        scores.clear()


def test_logits_of_every_step_with_padded_questions(blip, model):
    questions = blip.meta["questions"]
    forced = torch.tensor(blip.arrays["official_sequences"][0, :, :, :-1]).flatten(0, 1)
    with torch.inference_mode():
        images = model.vision_model(torch.tensor(blip.arrays["images"])).last_hidden_state
        states, mask = packed.encode_questions(model, images, [questions, questions])
        logits = model.text_decoder(
            forced,
            encoder_hidden_states=states,
            encoder_attention_mask=packed.additive_mask(mask[:, None, None, :], states.dtype),
            is_decoder=True,
        ).logits
    limits = {"rtol": 1e-4, "atol": 1e-5}
    for steps, (image, question) in zip(logits, np.ndindex(2, len(questions)), strict=True):
        key = f"logits_i{image}_q{question}"
        np.testing.assert_allclose(steps[0], blip.arrays[f"first_{key}"], **limits)
        np.testing.assert_allclose(steps, blip.arrays[f"forced_{key}"], **limits)


def test_the_real_model_has_the_published_tensors(golden):
    names = golden("blip_vqa_base_names").meta["names"]
    config = BlipConfig(
        text_config={"num_attention_heads": 12, "vocab_size": 30524, "encoder_hidden_size": 768},
        vision_config={"image_size": 480, "layer_norm_eps": 1e-6},
    )
    with torch.device("meta"):
        tensors = BlipForQuestionAnswering(config).state_dict()
    weights = {name: shape for name, shape in names.values() if not name.endswith("position_ids")}
    assert {name: list(tensors[name].shape) for name in weights} == weights
