"""A CLIP of one's own: small towers, a small vocabulary, random weights to train."""

import copy
import tempfile
from collections.abc import Iterable
from typing import Any

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import set_model_preprocess_cfg
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from qaclims_ray.model.clip import MaskPromptedClip

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
"""Special tokens of `word_tokenizer`."""


def new_clip(
    config: dict[str, Any],
    *,
    texts: Iterable[str] | None = None,
    mask_prompt_depth: int = 0,
    image_mean: tuple[float, float, float] = OPENAI_DATASET_MEAN,
    image_std: tuple[float, float, float] = OPENAI_DATASET_STD,
) -> MaskPromptedClip:
    """A randomly initialised, trainable CLIP; `save_clip` makes a directory of it.

    Args:
        config: open_clip's `embed_dim`, `vision_cfg`, `text_cfg` and, if wanted, `quick_gelu`.
        texts: the tokenizer knows the words of these texts, and `vocab_size` is set to their
            number; words that it doesn't know share one token. None: open_clip's own tokenizer
            of 49408 word pieces. Give the filled templates, so that "a photo of" is known too.
        mask_prompt_depth: how many times masked-out patches are replaced; the embeddings start
            at zero.
        image_mean: mean per channel that its images are normalised with.
        image_std: standard deviation per channel, likewise.
    """
    config = copy.deepcopy(config)
    text = config["text_cfg"]
    if texts is None:
        tokenizer = open_clip.SimpleTokenizer(context_length=text["context_length"])
    else:
        words = word_tokenizer(texts)
        with tempfile.TemporaryDirectory() as folder:  # open_clip reads tokenizers from files only
            words.save_pretrained(folder)
            tokenizer = HFTokenizer(folder, context_length=text["context_length"])
        text.update(vocab_size=len(words), hf_tokenizer_name="word_tokenizer")
    clip = open_clip.CLIP(**config)
    size = clip.visual.image_size
    set_model_preprocess_cfg(clip, {"size": size, "mean": image_mean, "std": image_std})
    return MaskPromptedClip(clip, tokenizer, config, mask_prompt_depth)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per lower-case word or punctuation run of `texts`.

    The end token has the largest id, as CLIP's text tower wants it (pooling at the arg max).
    """
    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text.lower())})
    ids = {token: i for i, token in enumerate([PAD, UNKNOWN, START, *words, END])}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = split
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, unk_token=UNKNOWN, bos_token=START, eos_token=END
    )
