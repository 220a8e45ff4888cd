import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qaclims_ray.model.torchscript import is_torchscript, read_torchscript


def test_torchscript_archives_are_told_from_other_files_and_read(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("c/constants.pkl", b"")
    (tmp_path / "d.pt").write_bytes(b"PK")
    found = [is_torchscript(tmp_path / f"{name}.pt") for name in "abcd"]
    assert found == [True, False, True, False]
    assert read_torchscript(tmp_path / "a.pt").keys() == {"weight", "bias"}
    with pytest.raises(ValueError, match="damaged TorchScript archive"):
        read_torchscript(tmp_path / "c.pt")


class _Net(nn.Module):
    """Shared, transposed, empty and nested tensors, and plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.shared = self.inner[0].weight
        self.register_buffer("turned", torch.arange(6).view(2, 3).t())
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.zeros(0))
        self.sides = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.sides[1]


def _save(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_tensors_are_those_that_torch_reads(tmp_path, dtype):
    net = _Net().to(dtype)
    _save(net, tmp_path / "a.pt")
    read, expected = read_torchscript(tmp_path / "a.pt"), net.state_dict()
    assert read.keys() == expected.keys()
    for name, value in expected.items():
        assert read[name].dtype == value.dtype or not value.numel()
        assert read[name].tolist() == value.tolist()


class _Writer(nn.Module):
    """Writes a file as soon as `torch.jit.load` has read it."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.register_buffer("content", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, str, bool]:
        return self.content, self.secret, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, str, bool]) -> None:
        self.content, self.secret, self.training = state
        torch.save(self.content, self.secret)


def test_a_module_that_writes_when_it_is_loaded_does_not(tmp_path):
    secret = tmp_path / "secret"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(_Writer(str(secret))).save(tmp_path / "a.pt")
        secret.unlink(missing_ok=True)
        torch.jit.load(tmp_path / "a.pt")
        assert secret.exists()  # so does today's torch
    secret.unlink()
    with pytest.raises(ValueError, match="nothing of it was run"):
        read_torchscript(tmp_path / "a.pt")
    assert not secret.exists()


class _Pickled:
    def __init__(self, secret: Path) -> None:
        self.secret = secret

    def __reduce__(self):
        return Path.write_text, (self.secret, "code ran")


def test_a_pickle_that_asks_for_more_is_refused(tmp_path):
    secret = tmp_path / "secret"
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", pickle.dumps(_Pickled(secret), 2))
    with pytest.raises(ValueError, match=r"it asks for __builtin__\.getattr"):
        read_torchscript(tmp_path / "a.pt")
    assert not secret.exists()


@pytest.mark.parametrize("size", [(4,), (9,), (2**40,), (-1,)])
def test_a_tensor_outside_its_storage_is_refused(tmp_path, size):
    _save(nn.Linear(2, 2, bias=False), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        data = archive.read("a/data/0")
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    storage += b"X\x03\x00\x00\x00cpuK\x04tQ"
    shape = b"".join(pickle.dumps(sides, 2)[2:-1] for sides in (size, (1,)))
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape
    tree = b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00w" + made + b"\x89}tRsb."
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("a/data.pkl", tree)
        archive.writestr("a/data/0", data)
    if size == (4,):
        assert read_torchscript(tmp_path / "b.pt")["w"].shape == size
        return
    with pytest.raises(ValueError, match=r"out of bounds|overflowed"):
        read_torchscript(tmp_path / "b.pt")


def test_a_packed_member_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(ValueError, match="is compressed"):
        read_torchscript(tmp_path / "a.pt")
