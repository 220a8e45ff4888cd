from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoProcessor, AutoTokenizer, BlipForQuestionAnswering

import qaclims_ray.demo
from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS
from qaclims_ray.demo.pretrain.clip import MASK_PROMPT_DEPTH, measure_clip
from qaclims_ray.demo.pretrain.fit import MEAN, STD, draw_examples, normalise, stack_pixels
from qaclims_ray.demo.pretrain.recipes import model_card
from qaclims_ray.demo.pretrain.vqa import generate_answers
from qaclims_ray.demo.world import Example, answers
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_files import load_clip
from qaclims_ray.model.losses import background_contrast, foreground_contrast
from qaclims_ray.model.regions import region_views, select_pairs

WEIGHTS = Path(qaclims_ray.demo.__file__).parent / "weights"


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return draw_examples(12345, 24, biased=False)


@pytest.fixture(scope="module")
def clip() -> MaskPromptedClip:
    return load_clip(str(WEIGHTS / "clip"), mask_prompt_depth=MASK_PROMPT_DEPTH)


def test_weights_are_small():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8e6


def test_card_states_the_measures_beside_it():
    assert (WEIGHTS / "MODEL_CARD.md").read_text() == model_card(WEIGHTS)


def test_clip_tells_regions_apart(clip: MaskPromptedClip, examples: list[Example]):
    measures = measure_clip(clip, examples)
    assert measures["class of the object region"] > 0.9
    assert measures["kind of the object region"] > 0.9
    assert measures["stuff of the background region"] > 0.9


def test_clip_localises(clip: MaskPromptedClip, examples: list[Example]):
    """A CLIP that saw regions alone has 0.2; names of what surrounds an object matter."""
    assert measure_clip(clip, examples)["mIoU of CAMs"] > 0.4


def test_clip_takes_imagenets_normalisation(clip: MaskPromptedClip):
    assert clip.image_mean == MEAN
    assert clip.image_std == STD


def test_the_objective_is_least_at_the_true_mask(clip: MaskPromptedClip, examples: list[Example]):
    """Moving the CAM off the object in any way costs more than it saves."""
    true = torch.stack(
        [torch.from_numpy(example.objects[0].visible).float()[None] for example in examples]
    )
    losses = {
        "true": _objective(clip, examples, true),
        "grown": _objective(clip, examples, F.max_pool2d(true, 17, 1, 8)),
        "shrunk": _objective(clip, examples, -F.max_pool2d(-true, 9, 1, 4)),
        "everywhere": _objective(clip, examples, torch.full_like(true, 0.95)),
        "nowhere": _objective(clip, examples, torch.full_like(true, 0.05)),
        "inverted": _objective(clip, examples, 1 - true),
    }
    assert min(losses, key=losses.__getitem__) == "true", losses


def _objective(clip: MaskPromptedClip, examples: list[Example], cams: torch.Tensor) -> float:
    names = [example.objects[0].class_name for example in examples]
    texts = [
        [t for t in (answers(e, n)[q] for q in BACKGROUND_QUESTIONS) if t != n]
        for e, n in zip(examples, names, strict=True)
    ]
    longest = max(map(len, texts))
    present = torch.tensor([[i < len(row) for i in range(longest)] for row in texts])
    background = torch.stack(
        [F.pad(clip.encode_texts(row), (0, 0, 0, longest - len(row))) for row in texts]
    )
    pairs = select_pairs(torch.ones(len(examples), 1))
    regions = region_views(cams, normalise(stack_pixels(examples)), pairs, clip.image_size, 0.1)
    common = (clip.encode_texts(names), background, present, 0.15)
    foreground = clip.encode_regions(regions.foreground, regions.foreground_mask)
    behind = clip.encode_regions(regions.background, regions.background_mask)
    fg, bg = foreground_contrast(foreground, *common), background_contrast(behind, *common)
    return (10 * fg + 8 * bg).mean().item()


def test_blip_answers_like_a_hub_checkpoint(examples: list[Example]):
    blip = BlipForQuestionAnswering.from_pretrained(WEIGHTS / "blip", dtype=torch.float32)
    for template in ("what is above the {}?", "what scene is the {} in?"):
        given = generate_answers(blip, examples, template)
        right = [
            answer == answers(example, name)[template]
            for example, row in zip(examples, given, strict=True)
            for name, answer in zip(example.class_names, row, strict=True)
        ]
        assert sum(right) / len(right) > 0.9


def test_blip_directory_has_what_transformers_looks_for():
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "blip")
    config = BlipForQuestionAnswering.from_pretrained(WEIGHTS / "blip").config.text_config
    assert tokenizer.convert_tokens_to_ids("[DEC]") == config.bos_token_id
    assert tokenizer.convert_tokens_to_ids("[ENC]") == config.bos_token_id + 1
    assert tokenizer.sep_token_id == config.sep_token_id
    processor = AutoProcessor.from_pretrained(WEIGHTS / "blip")
    assert tuple(processor.image_processor.image_mean) == MEAN


def test_backbone_fits_the_cam_network():
    net = build_cam_net("small_resnet", 8, WEIGHTS / "cam_backbone.safetensors")
    assert net(torch.zeros(1, 3, 96, 96)).shape == (1, 8, 12, 12)
