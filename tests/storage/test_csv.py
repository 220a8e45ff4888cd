import pyarrow as pa
import pytest

from qaclims_ray.storage.csv import csv_lines


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_no_cell_is_a_formula(text):
    table = pa.table({"answer": [text, "a=b", None, ""], "number": [-1, 2, 3, None]})
    expected = f'"answer","number"\n"\'{text}",-1\n"a=b",2\n,3\n"",\n'
    assert csv_lines(table).decode() == expected


def test_a_header_is_left_out_where_lines_are_added():
    assert csv_lines(pa.table({"a": ["x"]}), header=False) == b'"x"\n'


def test_no_header_and_no_large_text_is_a_formula():
    table = pa.table({"=1+1": pa.array(["=2"], pa.large_string())})
    assert csv_lines(table).decode() == '"\'=1+1"\n"\'=2"\n'
