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


def test_the_package_imports_no_library_before_something_is_asked_of_it():
    """`Run` reads with pandas and pyarrow; torch comes with the first prediction."""
    script = """
import json, sys
import qaclims_ray
first = [name for name in sys.argv[1:] if name in sys.modules]
from qaclims_ray import Run, load_experiment
print(json.dumps([first, [name for name in sys.argv[1:] if name in sys.modules]]))
"""
    command = [sys.executable, "-c", script, *HEAVY, "ray", "pandas"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], ["pandas"]]
