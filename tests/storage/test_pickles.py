"""A published file is read, and nothing that another one asks for is run, crashed or filled."""

import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from qaclims_ray.storage.pickles import read_dictionary

HEADER = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
)


def read(path, pickled):
    path.write_bytes(HEADER + pickled)
    return read_dictionary(str(path))


class Call:
    """Pickles as the call of a function, and with the state that its result is given."""

    def __init__(self, function, arguments, state=None):
        self._call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self._call


def array(*state):
    """An array that is given a state; NumPy's own are `(1, shape, dtype, is_fortran, content)`."""
    reconstruct, arguments, _ = np.zeros(1).__reduce__()
    return Call(reconstruct, arguments, state)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([1, 2], ">i4"),
        np.array(["a", "bcß"]),
        np.array([b"a", b"bc"]),
        np.array([True, False]),
        np.array([{"a": 1}, [2, "b"], None], dtype=object),
        np.float16(1.5),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_numbers_arrive_as_they_are(tmp_path, value, protocol):
    content = pickle.dumps(np.array({"a": value, "b": [value]}, dtype=object), protocol)
    found = read(tmp_path / "a.npy", content)
    for one in (found["a"], found["b"][0]):
        assert one.dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(np.asarray(one), value)


def test_what_numpy_saves_is_read(tmp_path):
    table = {"2007_000032": {"cat": {"vqa": [("What {}?", "a cat")], "answers": ["cat"]}}}
    np.save(tmp_path / "a.npy", table)
    assert read_dictionary(str(tmp_path / "a.npy")) == table
    np.save(tmp_path / "b.npy", {"none": np.zeros((0, 3), np.uint8)})
    assert read_dictionary(str(tmp_path / "b.npy"))["none"].shape == (0, 3)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("echo",)),
        (eval, ("1",)),
        (getattr, ("", "join")),
        (np.load, ("x",)),
        (np.lib.format.open_memmap, ("x",)),
        (np.ndarray, ((2,),)),
        (pickle.loads, (b"",)),
        (__import__, ("os",)),
    ],
)
def test_nothing_is_called(tmp_path, function, arguments):
    content = pickle.dumps(np.array({"a": Call(function, arguments)}, dtype=object))
    with pytest.raises(ValueError, match=r"cannot be loaded: (it asks for|'NoneType')"):
        read(tmp_path / "a.npy", content)


FLOAT, OBJECT = np.dtype("f8"), np.dtype(object)


@pytest.mark.parametrize(
    "lie",
    [
        array(1, (100_000,), OBJECT, False, []),  # crashes NumPy's own
        array(1, (2**40,), OBJECT, False, [1]),
        array(1, (2**40,), FLOAT, False, b"x" * 8),
        array(1, (2**62, 4), FLOAT, False, b""),
        array(1, (-1, -1), FLOAT, False, b"x" * 8),
        array(1, (1,), OBJECT, False, b"x" * 8),
        array(1, (1,), FLOAT, False, [1.0]),
        array(1, (1.0,), FLOAT, False, b"x" * 8),
        array(1, 1, FLOAT, False, b"x" * 8),
        array(1, (1,), "f8", False, b"x" * 8),
        array(1, (1,)),
        array(1, (1,), Call(np.dtype, ("U0", False, True)), False, b""),
        array(1, (1,), Call(np.dtype, ("f8,O", False, True)), False, b"x" * 16),
        Call(np.dtype, ("f8", False, True), (3, 5, None, None, None, -1, -1, 0)),
        Call(np.float64(0).__reduce__()[0], (OBJECT, b"x" * 8)),
    ],
)
def test_lies_about_arrays_crash_nothing(tmp_path, lie):
    content = pickle.dumps(np.array({"a": lie}, dtype=object))
    with pytest.raises(ValueError, match="cannot be loaded"):
        read(tmp_path / "a.npy", content)


def test_a_state_that_hides_objects_is_not_believed(tmp_path):
    """With these flags NumPy's own data type takes bytes for pointers to objects."""
    hidden = Call(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    content = pickle.dumps(np.array({"a": array(1, (1,), hidden, False, b"x" * 8)}, dtype=object))
    with pytest.raises(ValueError, match="whose content does not fit"):
        read(tmp_path / "a.npy", content)


def test_a_short_file_takes_little_memory(tmp_path):
    reconstruct = np.zeros(1).__reduce__()[0]
    large = [Call(reconstruct, (np.ndarray, (2**33,), b"O"))] * 9
    nested = np.array([np.array([np.zeros(9)] * 9, dtype=object)] * 9, dtype=object)
    content = pickle.dumps(np.array({"large": large, "nested": nested}, dtype=object))
    tracemalloc.start()
    found = read(tmp_path / "a.npy", content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert found["large"][0].size == 0
    assert found["nested"].shape == (9, 9, 9)


NESTED = b")" + b"\x85" * 1_000_000  # tuples, each in the next


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"}(" + NESTED + b"Nu.", "more than 64 tuples"),  # as a key, which is hashed
        (b"}(N" + NESTED + b"u.", "more than 64 tuples"),
        (b"}()" + b"q\x00h\x00\x85" * 100 + b"Nu.", "more than 64 tuples"),
        (b"Nr" + (2**28).to_bytes(4, "little") + b".", "value number 268,435,456 comes after 0"),
        (b"Np268435456\n.", "value number 268,435,456 comes after 0"),
        (b"\x8e" + (2**31).to_bytes(8, "little") + b".", "expected 2147483648 bytes"),
        (b"0.", "pop from empty"),
    ],
)
def test_a_pickle_that_ends_the_process_or_fills_the_memory_is_refused(tmp_path, pickled, reason):
    whole = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        whole, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path = tmp_path / "a.npy"
    path.write_bytes(whole.getvalue() + b"\x80\x04" + pickled)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"cannot be loaded: .*{reason}") as caught:
        read_dictionary(str(path))
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("length", [100, 2**31 - 1])
def test_a_header_that_nests_or_claims_too_much_is_refused(tmp_path, length):
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': " + b"(" * 4000 + b")" * 4000 + b"}"
    size = max(length, len(header)) if length > 100 else len(header)
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + size.to_bytes(4, "little") + header)
    with pytest.raises(ValueError, match=r"is no \.npy file") as caught:
        read_dictionary(str(path))
    assert len(str(caught.value).splitlines()) == 1
