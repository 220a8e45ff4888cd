"""Tables as CSV that a spreadsheet may open: no cell is a formula."""

from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv


def csv_lines(table: pa.Table, header: bool = True) -> bytes:
    """Write a table as CSV (RFC 4180, but for line feeds alone), with all texts quoted.

    An apostrophe goes before a text that a spreadsheet would compute, such as `=1+1`.
    """
    texts = (pa.string(), pa.large_string())
    columns = [_inert(column) if column.type in texts else column for column in table]
    names = _inert(pa.chunked_array([table.column_names], pa.string())).to_pylist()
    out = BytesIO()
    plain = pa.table(columns, names=names)
    pv.write_csv(plain, out, pv.WriteOptions(include_header=header))
    return out.getvalue()


def _inert(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    options = pc.ReplaceSubstringOptions(
        r"^([=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}])", r"'\1"
    )
    return pc.call_function("replace_substring_regex", [texts], options)
