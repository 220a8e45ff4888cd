"""Make the VQA engine that the section `corpus.engine` names."""

from qaclims_ray.config import corpus as config
from qaclims_ray.corpus.engines.base import Engine
from qaclims_ray.corpus.engines.bounds import Bounded
from qaclims_ray.images.decoded import Fit


def image_fit(section: config.Engine) -> Fit | None:
    """Return the size that an engine's model sees all images at; None: it wants them as they are.

    Raises:
        ValueError: the model is not to be had.
    """
    if not isinstance(section, config.Blip):
        return None
    from qaclims_ray.corpus.engines import blip

    return blip.image_fit(section)


def build_engine(
    section: config.Engine, *, device: str, num_gpus: float, trust_remote_code: bool = False
) -> Engine:
    """Make an engine on the device of this process, importing what it needs and no more.

    Args:
        section: The section `corpus.engine`.
        device: `cpu` or `cuda`; vLLM finds its devices itself.
        num_gpus: GPUs of this process; a fraction is its share of one. vLLM spreads its model over
            several.
        trust_remote_code: See `model.trust_remote_code`.
    """
    match section:
        case config.Blip():
            from qaclims_ray.corpus.engines.blip import BlipEngine

            return BlipEngine(section, device, min(1.0, num_gpus or 1.0))
        case config.Chat():
            from qaclims_ray.corpus.engines.chat import ChatEngine

            engine = ChatEngine(section, device, trust_remote_code=trust_remote_code)
            return Bounded(engine, section)
        case config.Vllm():
            from qaclims_ray.corpus.engines.vllm import VllmEngine

            return Bounded(VllmEngine(section, max(1, int(num_gpus))), section)
        case config.Server():
            from qaclims_ray.corpus.engines.server import ServerEngine

            return Bounded(ServerEngine(section), section)
        case config.Table():
            from qaclims_ray.corpus.engines.table import TableEngine

            return TableEngine(section)
        case config.Replay():
            from qaclims_ray.corpus.engines.replay import ReplayEngine

            return ReplayEngine(section)
