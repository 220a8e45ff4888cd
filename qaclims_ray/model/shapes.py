"""Shapes of tensors that networks and losses share; axes as in `qaclims_ray.types`."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "B 3 H W"]
"""Normalised RGB."""
Labels = Float[Tensor, "B C"]
"""1 where the image's labels name the class, else 0."""
Cams = Float[Tensor, "B C h w"]
"""Class activation maps; the function says whether logits, sigmoid or ReLU."""
Masks = Float[Tensor, "P 1 H W"]
"""Binary regions: 1 inside."""
Features = Float[Tensor, "P D"]
"""CLIP features."""
Indices = Int[Tensor, "P"]
Present = Bool[Tensor, "P L"]
"""False where a row of a padded set of texts is padding."""
