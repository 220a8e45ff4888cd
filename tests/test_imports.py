"""What a process imports: each of some thirty pays for it when it starts."""

import json
import subprocess
import sys

HEAVY = (
    "torch",
    "torch._dynamo",  # the compiler, which torchvision's networks bring
    "torchvision",
    "open_clip",
    "timm",
    "transformers",
    "segmentation_models_pytorch",
)
STAGES = ("ingest", "evaluate", "corpus", "cams", "refine", "segment", "train")
TRAININGS = ("classifier", "irn", "segmenter")
SCRIPT = """
import importlib, json, sys
names = sys.argv[1].split(",")
found = {}
for name in names:
    importlib.import_module(f"qaclims_ray.{name}")
    found[name] = [heavy for heavy in sys.argv[2:] if heavy in sys.modules]
print(json.dumps(found))
"""


def test_jobs_and_actors_import_no_library_before_one_of_its_networks_is_built():
    """One after the other: what a stage lacks, those before it lack too."""
    names = [
        *(f"{stage}.stage" for stage in STAGES),
        *(f"train.{training}" for training in TRAININGS),
        "preflight.check",
        "report.page",
    ]
    command = [sys.executable, "-c", SCRIPT, ",".join(names), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.pop("ingest.stage") == found.pop("evaluate.stage") == []
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
