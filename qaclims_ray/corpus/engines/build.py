"""The engine section of a configuration to the VQA engine that it names."""

from collections.abc import Mapping
from typing import Any

import torch

from qaclims_ray.config.corpus import Blip, Chat, Corpus, Replay, Server, Table, Vllm
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.engines.base import BlipEngine, Engine, TableEngine
from qaclims_ray.corpus.engines.chat import ChatEngine
from qaclims_ray.corpus.engines.replay import ReplayEngine
from qaclims_ray.corpus.engines.server import ServerEngine


def build_engine(section: Mapping[str, Any], device: str) -> Engine:
    """The engine of `corpus.engine`.

    Args:
        section: It, as plain data; of any kind but `vllm`, which `corpus.vllm` runs.
        device: `cpu` or `cuda`.
    """
    engine = Corpus.model_validate({"engine": section}).engine
    assert not isinstance(engine, Vllm)
    match engine:
        case Blip() | Chat():
            dtype: torch.dtype = getattr(torch, engine.precision)
            options = engine.model_dump(exclude={"kind", "model", "precision"})
            build = BlipEngine if isinstance(engine, Blip) else ChatEngine
            return build(resolve(engine.model), device=device, dtype=dtype, **options)
        case Server():
            return ServerEngine(**engine.model_dump(exclude={"kind"}))
        case Table():
            return TableEngine(engine.answers)
        case Replay():
            return ReplayEngine(engine.corpus)
