import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qaclims_ray.demo.pretrain import vqa as pretrain_vqa
from qaclims_ray.demo.pretrain.captions import word_shares
from qaclims_ray.demo.pretrain.clip import contrast, measure_clip, pretrain_clip
from qaclims_ray.demo.pretrain.fit import draw_examples, fit, learning_rate_at
from qaclims_ray.demo.pretrain.recipes import RECIPES, pretrain
from qaclims_ray.demo.pretrain.regions import draw_regions, stack_contents
from qaclims_ray.demo.words import ANSWER_WORDS, CLASSES, SCENES
from qaclims_ray.demo.world import Example


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return draw_examples(21, 6, biased=False)


def test_fit_minimises():
    net = torch.nn.Linear(3, 1)
    inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))

    def draw_loss() -> torch.Tensor:
        return (net(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()

    before = draw_loss().item()
    fit(net, draw_loss, num_steps=80, learning_rate=0.1, title="line")
    assert draw_loss().item() < before / 20
    assert not net.training


def test_learning_rate_warms_up_and_ends_at_zero():
    shares = [learning_rate_at(step, 100) for step in range(101)]
    assert shares[0] == pytest.approx(1 / 5)
    assert max(shares) > 0.99
    assert shares[100] == pytest.approx(0)


def test_regions_lie_in_the_unit_interval_and_inside_their_masks(examples: list[Example]):
    torch.manual_seed(0)
    regions = draw_regions(stack_contents(examples))
    assert regions.soft.min() >= 0
    assert regions.soft.max() <= 1
    peak = regions.soft.amax(dim=(2, 3), keepdim=True)
    assert (regions.mask[regions.soft >= 0.1 * peak] == 1).all()
    assert (regions.soft.flatten(1).amax(dim=1) <= regions.brightness + 1e-6).all()


def test_contents_number_objects_and_stuffs(examples: list[Example]):
    contents = stack_contents(examples)
    for content, example in zip(contents, examples, strict=True):
        top = torch.from_numpy(example.is_top)
        free = torch.from_numpy(example.label_map == 0)
        assert (content[top & free] == 2).all()
        assert (content[~top & free] == 3).all()
        assert (content[torch.from_numpy(example.objects[0].visible)] == 0).all()


def test_contrast_is_lowest_for_the_right_captions(examples: list[Example]):
    clip = pretrain_clip(examples, num_steps=1, seed=0, batch_size=4)
    texts = clip.encode_texts(["taxi", "snow", "owl"])
    right = contrast(clip, texts, ["taxi", "snow", "owl"])
    wrong = contrast(clip, texts, ["snow", "owl", "taxi"])
    assert right < wrong


def test_words_of_a_whole_image_share_1(examples: list[Example]):
    for shares, example in zip(word_shares(examples), examples, strict=True):
        right = dict(zip(ANSWER_WORDS, shares.tolist(), strict=True))
        assert sum(right.values()) == pytest.approx(1)
        assert min(right[name] for name in example.class_names) > right[SCENES[example.scene][0]]
        assert right[example.top] > 0
        absent = set(CLASSES) - set(example.class_names)
        assert not any(right[name] for name in absent)


def test_the_same_seed_gives_the_same_clip(examples: list[Example]):
    first, second = (pretrain_clip(examples, num_steps=2, seed=3, batch_size=4) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert measure_clip(first, examples) == measure_clip(second, examples)


def test_tokenizer_knows_every_word_and_ends_like_blips():
    tokenizer = pretrain_vqa.new_tokenizer()
    tokens = tokenizer("What is this aeroplane also called?")["input_ids"]
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.convert_ids_to_tokens([len(tokenizer) - 2, len(tokenizer) - 1]) == [
        "[DEC]",
        "[ENC]",
    ]


def test_answer_loss_is_the_mean_over_single_questions(examples: list[Example]):
    torch.manual_seed(0)
    tokenizer = pretrain_vqa.new_tokenizer()
    blip = pretrain_vqa.new_blip(tokenizer).eval()
    states = torch.randn(2, 65, 96)
    asked = [
        pretrain_vqa.Asked(0, "what is above the dog?", "sky"),
        pretrain_vqa.Asked(1, "what is the left side of dog?", "fog"),
        pretrain_vqa.Asked(1, "what is under the car?", "road"),
    ]
    alone = [pretrain_vqa.answer_loss(blip, tokenizer, states, [one]) for one in asked]
    together = pretrain_vqa.answer_loss(blip, tokenizer, states, asked)
    torch.testing.assert_close(together, torch.stack(alone).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights")
    pretrain(out, seed=1, num_examples=5, num_held_out=3, steps_scale=0.001)
    return out


def test_pretraining_writes_all_models_in_half_precision(trained: Path):
    for file in (
        "clip/open_clip_model.safetensors",
        "clip/mask_embeddings.safetensors",
        "blip/model.safetensors",
        "cam_backbone.safetensors",
    ):
        dtypes = {value.dtype for value in load_file(trained / file).values()}
        assert dtypes <= {torch.float16, torch.int64}, file


def test_model_card_states_every_measure(trained: Path):
    card = (trained / "MODEL_CARD.md").read_text()
    for name in RECIPES:
        record = json.loads((trained / f"{name}_measures.json").read_text())
        assert record["facts"]["steps"] == max(1, round(RECIPES[name].num_steps * 0.001))
        assert f"## {name}" in card
        for question in record["accuracies"]["unbiased"]:
            assert f"| {question} |" in card
