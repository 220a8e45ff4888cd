"""Bytes at a local path or an fsspec URL (`s3://…`, `gs://…`, `https://…`), for all other folders.

In: paths and URLs. Out: bytes, text, JSON, Parquet tables, pickled dictionaries. Files are written
atomically, calls that time may mend are tried again, and no message shows a URL's credentials.
"""
