"""What a process imports: each of some thirty pays for it when it starts."""

import json
import subprocess
import sys

HEAVY = ("torch", "open_clip", "timm", "transformers", "segmentation_models_pytorch")
SCRIPT = """
import importlib, json, sys
found = {}
for stage in ("ingest", "evaluate", "corpus", "cams", "refine", "segment", "train"):
    importlib.import_module(f"qaclims_ray.{stage}.stage")
    found[stage] = [name for name in sys.argv[1:] if name in sys.modules]
print(json.dumps(found))
"""


def test_stages_import_no_library_before_one_of_its_networks_is_built():
    """One after the other: what a stage lacks, those before it lack too."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *HEAVY], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found.pop("ingest") == found.pop("evaluate") == []
    assert set(map(tuple, found.values())) == {("torch",)}
