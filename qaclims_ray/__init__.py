"""QA-CLIMS on Ray: weakly supervised semantic segmentation from image labels.

In: images with image-level labels, and one configuration. Out: class activation maps (CAMs), pseudo
masks, a segmenter and their scores. The README shows the folders and says which files to read
first.

From Python: `Run` opens a run, `load_experiment` reads a configuration, `make` makes artifacts
(docs/python.md). Each is imported when it is asked for: `import qaclims_ray` imports no library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qaclims_ray.api.make import make
    from qaclims_ray.api.run import Run
    from qaclims_ray.config.experiment import load as load_experiment

__all__ = ["Run", "load_experiment", "make"]

_PLACES = {
    "Run": ("qaclims_ray.api.run", "Run"),
    "load_experiment": ("qaclims_ray.config.experiment", "load"),
    "make": ("qaclims_ray.api.make", "make"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'qaclims_ray' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)
