import pytest
import torch
from transformers import BlipConfig, BlipForQuestionAnswering


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
