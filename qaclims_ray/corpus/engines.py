"""The engine section of a configuration to the VQA engine that it names."""

from collections.abc import Mapping
from typing import Any

import torch

from qaclims_ray.config import resolve
from qaclims_ray.corpus.chat import ChatEngine
from qaclims_ray.corpus.vqa import BlipEngine, Engine, TableEngine
from qaclims_ray.sections import Blip, Chat, Corpus, Table


def build_engine(section: Mapping[str, Any], device: str) -> Engine:
    """The engine of `corpus.engine`.

    Args:
        section: It, as plain data.
        device: `cpu` or `cuda`.
    """
    engine: Blip | Chat | Table = Corpus.model_validate({"engine": section}).engine
    match engine:
        case Blip():
            return BlipEngine(
                resolve(engine.model),
                device=device,
                dtype=getattr(torch, engine.precision),
                num_beams=engine.num_beams,
                max_length=engine.max_length,
            )
        case Chat():
            return ChatEngine(
                resolve(engine.model),
                device=device,
                dtype=getattr(torch, engine.precision),
                instruction=engine.instruction,
                max_new_tokens=engine.max_new_tokens,
            )
        case Table():
            return TableEngine(engine.answers)
