from uuid import uuid4

import pytest


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder on disk, and one in a store that knows no rename."""
    return str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}"
