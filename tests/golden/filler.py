"""Deterministic weight filler shared by the reference run and by qaclims_ray's tests.

fill_value(name, shape) -> numpy float32 array, or None for "leave as constructed".
The name is the CANONICAL name (see NOTES.md, "Weight filler").  First matching rule wins:

  1. last component 'num_batches_tracked'             -> zeros (int64)
  2. last component 'running_mean'                     -> 0.05 * n
  3. last component 'running_var'                      -> 1 + 0.1 * |n|
  4. ndim == 0                                         -> None (as constructed: CLIP 'logit_scale')
  5. name ends with 'bias'  (incl. 'in_proj_bias')     -> 0.05 * n
  6. ndim == 1 and name ends with '.weight'            -> 1 + 0.1 * n     (norm layers)
  7. 'embedding' occurs anywhere in the name           -> 0.02 * n
  8. ndim >= 2                                         -> n * 1/sqrt(prod(shape[1:]))
  9. anything else                                     -> ValueError

where n = numpy.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
.astype(float32) (drawn in float64, C order, then cast), every scale is a numpy.float32 and all
arithmetic is float32. Buffers of integer dtype other than num_batches_tracked (position_ids,
path_indices*) and the IRN 'disp_target' are never filled: they are structural.
"""

import zlib

import numpy as np


def normal(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def fill_value(name, shape):
    shape = tuple(int(s) for s in shape)
    last = name.split(".")[-1]
    f = np.float32
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "running_mean":
        return f(0.05) * normal(name, shape)
    if last == "running_var":
        return f(1) + f(0.1) * np.abs(normal(name, shape))
    if len(shape) == 0:
        return None
    if name.endswith("bias"):
        return f(0.05) * normal(name, shape)
    if len(shape) == 1 and name.endswith(".weight"):
        return f(1) + f(0.1) * normal(name, shape)
    if "embedding" in name:
        return f(0.02) * normal(name, shape)
    if len(shape) >= 2:
        return normal(name, shape) * f(1.0 / np.sqrt(np.prod(shape[1:])))
    raise ValueError(f"no rule for {name} {shape}")


STRUCTURAL = ("position_ids", "disp_target")


def fill_module(module, rename=lambda n: n, prefix=""):
    """Fill a torch module in place.  rename(name) -> canonical name, or None to skip an alias
    (tensors that share storage with an already named one)."""
    import torch

    done = {}
    with torch.no_grad():
        for name, t in module.state_dict(keep_vars=True).items():
            c = rename(prefix + name)
            if c is None:
                continue
            if c.split(".")[-1].startswith(STRUCTURAL) or c.split(".")[-1].startswith(
                "path_indices"
            ):
                continue
            v = fill_value(c, t.shape)
            if v is None:
                continue
            t.data.copy_(torch.from_numpy(np.asarray(v)))
            done[c] = tuple(t.shape)
    return done
