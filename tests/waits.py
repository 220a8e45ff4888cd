"""Counts what a device would be waited for, where none is: operations whose result the host needs.

from tests.waits import counted_waits
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_ASKS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
"""ATen's operations that ask for numbers, or for how many there are."""
_TAKES = {"tolist", "numpy", "cpu"}
"""Methods that bring a tensor to the host; on a CPU no operation shows them."""


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Counter[str], device: str) -> None:
        super().__init__()
        self._waits, self._device = waits, device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        by_tensor = name == "repeat_interleave" and func._overloadname == "Tensor"
        by_tensor = by_tensor and not (kwargs or {}).get("output_size")
        asks = name in _ASKS or by_mask or by_tensor
        if asks and args[0].device.type == self._device:
            self._waits[name] += 1
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, waits: Counter[str], device: str) -> None:
        super().__init__()
        self._waits, self._device = waits, device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in _TAKES or args[0].device.type != self._device:
            return func(*args, **(kwargs or {}))
        self._waits[name] += 1
        # Tensors of the meta device have no numbers, and zeros are as good as any.
        tensor = args[0]
        here = torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor
        return func(here, *args[1:], **(kwargs or {}))


@contextmanager
def counted_waits(device: str) -> Generator[Counter[str]]:
    """Count, by name, what is asked of tensors of a device.

    Args:
        device: `cpu`, or `meta`, whose tensors may be taken to the host, as zeros; all else that
            asks them for numbers is an error there.
    """
    waits: Counter[str] = Counter()
    with _Operations(waits, device), _Methods(waits, device):
        yield waits
