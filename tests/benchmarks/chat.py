"""Chat models: the image and the start of the prompts encoded once against a prompt per question.

    python tests/benchmarks/chat.py

A LLaVA with random weights: ViT-B/16 at 384 pixels (576 image tokens), a Llama of 12 layers and
width 768; one image, its 16 questions about one class, 10 tokens each, float32, side by side in one
process; CPU seconds. Of the prompts per question, which all take equally long, every fourth is
timed.
"""

import tempfile
import time

import numpy as np
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

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS, Chat
from qaclims_ray.corpus.engines.chat import ChatEngine
from qaclims_ray.corpus.questions import fill

SIDE, PATCH, VOCABULARY, TOKENS = 384, 16, 32000, 10
SIZES = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message.content %}"
    "{{ '<image> ' if part.type == 'image' else part.text }}{% endfor %}{% endfor %} BOT:"
)
QUESTIONS = fill([*FOREGROUND_QUESTIONS, *BACKGROUND_QUESTIONS], "boat")
SAMPLED = 4


def save_model(folder):
    """A model and its processor as transformers saves them."""
    torch.manual_seed(0)
    LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**SIZES, image_size=SIDE, patch_size=PATCH),
            text_config=LlamaConfig(**SIZES, vocab_size=VOCABULARY, eos_token_id=3, pad_token_id=0),
            image_token_index=4,
        )
    ).save_pretrained(folder)
    known = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "<image>"]
    known += [f"word{number}" for number in range(len(known), VOCABULARY)]
    words = models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token="[UNK]",
            eos_token="[EOS]",
            pad_token="[PAD]",
            additional_special_tokens=["<image>"],
        ),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def seconds(engine, image, questions):
    """CPU seconds, which other processes disturb less than the wall clock, and answers."""
    start = time.process_time()
    (answers,) = engine.answer([image], [questions], names=["image"])
    return time.process_time() - start, answers


def main():
    """Print seconds of both ways and their ratio."""
    image = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder)
        section = Chat(kind="chat", model=folder, max_new_tokens=TOKENS)
        shared, alone = (ChatEngine(section, "cpu") for _ in range(2))
    assert shared._shares
    alone._shares = False
    fast, answers = seconds(shared, image, QUESTIONS)
    slow, sampled = seconds(alone, image, QUESTIONS[::SAMPLED])
    assert sampled == answers[::SAMPLED]
    slow *= SAMPLED
    print(f"{torch.get_num_threads()} threads; {len(QUESTIONS)} questions")
    print(f"a prompt per question {slow:.1f} s; shared start {fast:.2f} s; ratio {slow / fast:.1f}")


if __name__ == "__main__":
    main()
