import os
import pickle

import numpy as np
import pytest

from qaclims_ray.ingest.cls_labels import read_cls_labels


def save(path, table):
    np.save(path, table)
    return str(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, bool])
def test_labels_of_names(tmp_path, dtype):
    table = {"2007_000032": np.array([1, 0, 1], dtype), "2007_000039": np.array([0, 0, 0], dtype)}
    found = read_cls_labels(save(tmp_path / "l.npy", table), 3)
    assert found == {"2007_000032": [0, 2], "2007_000039": []}


@pytest.mark.parametrize("number", [np.int32(2007000032), np.int64(2007000032), 2007000032])
def test_names_kept_as_numbers(tmp_path, number):
    path = save(tmp_path / "l.npy", {number: np.array([0, 1], np.float32)})
    assert read_cls_labels(path, 2) == {"2007_000032": [1]}


def test_file_of_an_old_numpy(tmp_path):
    """Until NumPy 1 the same functions were in numpy.core."""
    path = tmp_path / "l.npy"
    save(path, {np.int32(2007000032): np.array([0, 1], np.float32)})
    content = path.read_bytes()
    header, pickled = content[:128], content[128:]
    assert header.endswith(b"\n")
    old = pickle.dumps(pickle.loads(pickled), protocol=2).replace(b"numpy._core.", b"numpy.core.")
    path.write_bytes(header + old)
    assert read_cls_labels(str(path), 2) == {"2007_000032": [1]}


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL_FOLDER"],)


def test_nothing_in_the_file_is_run(tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "evil"))
    path = save(tmp_path / "l.npy", {"a": Evil()})
    with pytest.raises(ValueError, match="mkdir"):
        read_cls_labels(path, 2)
    assert not (tmp_path / "evil").exists()
    np.load(path, allow_pickle=True)
    assert (tmp_path / "evil").exists()  # so the test can fail


@pytest.mark.parametrize(
    "content",
    [np.zeros(3), np.array([{"a": 1}, {"b": 2}]), {"a": "text"}, {"a": np.array(["x"])}, "text"],
)
def test_other_contents_are_errors(tmp_path, content):
    with pytest.raises(ValueError, match=r"not a (pickled )?dict|cannot be loaded"):
        read_cls_labels(save(tmp_path / "l.npy", content), 3)


def test_damaged_files_are_errors(tmp_path):
    path = tmp_path / "l.npy"
    save(path, {f"{i}": np.ones(3, np.float32) for i in range(9)})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(content) + 1)])
        try:
            read_cls_labels(str(path), 3)
        except ValueError:
            continue


def test_wrong_number_of_classes(tmp_path):
    path = save(tmp_path / "l.npy", {"a": np.zeros(20)})
    with pytest.raises(ValueError, match=r"arrays of \[20\] labels, expected 8"):
        read_cls_labels(path, 8)


@pytest.mark.parametrize("value", [-1, 0.3, 2, np.nan, np.inf])
def test_values_other_than_0_and_1_are_refused(tmp_path, value):
    path = save(tmp_path / "l.npy", {"a": np.array([0.0, 1]), "b": np.array([1, value])})
    with pytest.raises(ValueError, match=rf"b has the value {value:g}; legal are 1"):
        read_cls_labels(path, 2)
