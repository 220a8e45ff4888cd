"""Make the VQA engine that the section `corpus.engine` names."""

from qaclims_ray.config import corpus as config
from qaclims_ray.corpus.engines.base import Engine
from qaclims_ray.corpus.engines.blip import BlipEngine
from qaclims_ray.corpus.engines.bounds import Bounded
from qaclims_ray.corpus.engines.chat import ChatEngine
from qaclims_ray.corpus.engines.replay import ReplayEngine
from qaclims_ray.corpus.engines.server import ServerEngine
from qaclims_ray.corpus.engines.table import TableEngine
from qaclims_ray.corpus.engines.vllm import VllmEngine


def build_engine(
    section: config.Engine, *, device: str, num_gpus: int, trust_remote_code: bool = False
) -> Engine:
    """Make an engine on the device of this process.

    Args:
        section: The section `corpus.engine`.
        device: `cpu` or `cuda`; vLLM finds its devices itself.
        num_gpus: GPUs of this process, over which vLLM spreads its model.
        trust_remote_code: See `model.trust_remote_code`.
    """
    match section:
        case config.Blip():
            return BlipEngine(section, device)
        case config.Chat():
            engine = ChatEngine(section, device, trust_remote_code=trust_remote_code)
            return Bounded(engine, section)
        case config.Vllm():
            return Bounded(VllmEngine(section, num_gpus), section)
        case config.Server():
            return Bounded(ServerEngine(section), section)
        case config.Table():
            return TableEngine(section)
        case config.Replay():
            return ReplayEngine(section)
