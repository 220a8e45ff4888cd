"""The section `cams`: class activation maps."""

from typing import Any, Literal

from pydantic import PositiveFloat

from qaclims_ray.config.base import Section


class Cams(Section):
    """Class activation maps of every image."""

    scales: tuple[PositiveFloat, ...] = (1.0, 0.5, 1.5, 2.0)
    """Image scales; each also flipped; maps are summed."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """On the logits before fusion. Published: relu."""
    resolution: Literal["strided", "full"] = "strided"
    """strided: (side - 1) // 4 + 1 cells; full: one per pixel (16 times the size). Measured on the
    demo's 600 images, mIoU in points, full less strided, with 95 % paired intervals: at each one's
    best threshold +0.1 [0.0, 0.2] (baseline 0.0 [-0.1, 0.0]); at the fixed 0.15 -1.1 [-1.2, -1.0]
    (baseline +0.1 [0.1, 0.1]). Finer maps have a higher maximum to be divided by, so that the best
    threshold sinks (0.05 to 0.03): choose it anew."""

    def fusion(self) -> dict[str, Any]:
        """The options of `model.predictor.CamPredictor`."""
        return {
            "scales": self.scales,
            "activation": self.activation,
            "resolution": self.resolution,
        }
