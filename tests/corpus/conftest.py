"""Tiny visual-question-answering models with random weights, made as transformers makes them."""

from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)


@pytest.fixture(scope="session")
def tiny_blip():
    """`tiny_blip(seed)`: random weights; 32 pixels; 19 tokens: 2 [SEP], 17 [DEC], 18 [ENC]."""
    return _tiny_blip


def _tiny_blip(seed):
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
    text = {
        **sizes,
        "vocab_size": 19,
        "encoder_hidden_size": 32,
        "max_position_embeddings": 40,
        "bos_token_id": 17,
        "sep_token_id": 2,
        "eos_token_id": 2,
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
        model.text_decoder.cls.predictions.decoder.bias[2] += 2
    return model


WORDS = ["what", "is", "above", "under", "the", "?", "boat", "dog", "answer", "with", "one", "or"]
_SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "<image>", "<fake_token_around_image>"]
_SPECIAL += [
    "<|image_pad|>",
    "<|video_pad|>",
    "<global-img>",
    "<end_of_utterance>",
    "<vision>",
    "</vision>",
]
VOCABULARY = [*_SPECIAL, "USER:", "BOT:", *WORDS]
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message.content %}"
    "{{ 'IMAGE ' if part.type == 'image' else part.text }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} BOT:{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {
    **SIZES,
    "vocab_size": len(VOCABULARY),
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory):
    """`tiny_chat(family)`: folder of a tiny chat model with random weights."""

    @cache
    def make(family):
        folder = str(tmp_path_factory.mktemp(family))
        torch.manual_seed(0)
        model, processor = {"llava": _llava, "idefics3": _idefics3, "qwen2_vl": _qwen2_vl}[family]()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.4)
            model.lm_head.weight[: -len(WORDS)] = 0  # so that it says words
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return make


def _tokenizer():
    words = models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        pad_token="[PAD]",
        additional_special_tokens=_SPECIAL[4:],
    )


def _llava():
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**SIZES, image_size=28, patch_size=14),
            text_config=LlamaConfig(**TEXT),
            image_token_index=VOCABULARY.index("<image>"),
        )
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=_tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return model, processor


def _idefics3():
    model = Idefics3ForConditionalGeneration(
        Idefics3Config(
            vision_config={**SIZES, "image_size": 32, "patch_size": 8},
            text_config=LlamaConfig(**TEXT),
            image_token_id=VOCABULARY.index("<image>"),
            pad_token_id=0,
            scale_factor=2,
        )
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
        ),
        tokenizer=_tokenizer(),
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return model, processor


def _qwen2_vl():
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            vision_config={
                "depth": 2,
                "embed_dim": 32,
                "hidden_size": 32,
                "num_heads": 2,
                "mlp_ratio": 2,
                "patch_size": 14,
            },
            text_config={
                **TEXT,
                "num_key_value_heads": 1,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "mrope_section": [2, 3, 3],
                },
            },
            image_token_id=VOCABULARY.index("<|image_pad|>"),
            video_token_id=VOCABULARY.index("<|video_pad|>"),
            vision_start_token_id=VOCABULARY.index("<vision>"),
            vision_end_token_id=VOCABULARY.index("</vision>"),
        )
    )
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=84 * 84),
        tokenizer=_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(min_pixels=28 * 28, max_pixels=84 * 84),
        chat_template=TEMPLATE.replace("IMAGE", "<vision><|image_pad|></vision>"),
    )
    return model, processor
