import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from qaclims_ray.corpus.chat import ChatEngine, clean

WORDS = ["what", "is", "above", "under", "the", "?", "boat", "dog", "answer", "with", "one", "or"]
VOCABULARY = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "<image>", "USER:", "BOT:", *WORDS]
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message.content %}"
    "{{ '<image> ' if part.type == 'image' else part.text }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} BOT:{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny LLaVA with random weights, as transformers saves it."""
    folder = str(tmp_path_factory.mktemp("llava"))
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**SIZES, image_size=28, patch_size=14),
            text_config=LlamaConfig(
                **SIZES, vocab_size=len(VOCABULARY), bos_token_id=2, eos_token_id=3, pad_token_id=0
            ),
            image_token_index=VOCABULARY.index("<image>"),
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4)
        model.lm_head.weight[: -len(WORDS)] = 0  # so that it says words
    model.save_pretrained(folder)
    words = models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token="[UNK]",
            bos_token="[BOS]",
            eos_token="[EOS]",
            pad_token="[PAD]",
            additional_special_tokens=["<image>"],
        ),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def _image(seed, height=40, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_answers_in_order_whatever_the_batches(folder):
    images = [_image(0), _image(1, 20, 50), _image(2)]
    questions = [["what is above the boat ?", "what is the dog ?"], [], ["what is under ?"]]
    answers = ChatEngine(folder).answer(images, questions)
    assert [len(row) for row in answers] == [2, 0, 1]
    for batch_size in (1, 2):
        assert ChatEngine(folder, batch_size=batch_size).answer(images, questions) == answers


def test_answers_depend_on_image_question_and_instruction(folder):
    engine = ChatEngine(folder)
    questions = ["what is above the boat ?", "what is the dog ?", "is one or the boat ?"]
    first, second = engine.answer([_image(0), _image(1)], [questions, questions])
    assert first != second
    assert len(set(first)) > 1
    other = ChatEngine(folder, instruction="one or the dog")
    assert other.answer([_image(0)], [questions]) != [first]


def test_answers_are_as_short_as_asked_for(folder):
    engine = ChatEngine(folder, max_new_tokens=2)
    [[answer]] = engine.answer([_image(0)], [["what is above the boat ?"]])
    assert 0 < len(answer.split()) <= 2


def test_clean_takes_the_first_line_without_full_stop():
    assert clean(" A sailing Boat.\nIt is white.") == "a sailing boat"
    assert clean("") == ""
