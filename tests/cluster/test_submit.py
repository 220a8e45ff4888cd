"""Jobs submitted to a running cluster (`ray start --head`), as their docstrings show it."""

import ast
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch

from qaclims_ray.demo.words import CLASSES
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.checkpoints import to_published_cam

ROOT = Path(__file__).parents[2]
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
AT_HOME = {"show_config", "pretrain_demo", "compare"}
"""Jobs that no one submits: they print keys, make files of the checkout, or read other runs."""
SUBMIT = "ray job submit "
RAY = str(Path(sys.executable).with_name("ray"))


def _submit_line(job: str) -> str | None:
    """The command that a job's docstring shows for a cluster."""
    text = ast.get_docstring(ast.parse((ROOT / "qaclims_ray" / "jobs" / f"{job}.py").read_text()))
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(SUBMIT)]
    return lines[0] if lines else None


@pytest.mark.parametrize("job", sorted(set(JOBS) - AT_HOME))
def test_a_docstring_shows_how_the_job_is_submitted(job):
    line = _submit_line(job)
    assert line is not None
    assert f" --working-dir . -- python jobs/{job}.py " in line
    words = shlex.split(line)
    if "--config" not in words:
        return
    assert (ROOT / words[words.index("--config") + 1]).is_file()
    # The job's folder is a copy that goes with it: what it reads and makes lies elsewhere.
    assert " run=/shared/" in line
    assert " data.root=/shared/" in line or "demo" in line


@pytest.mark.parametrize("job", sorted(AT_HOME))
def test_jobs_of_the_checkout_are_not_submitted(job):
    assert _submit_line(job) is None


def _packed(folder: Path, target: Path) -> set[str]:
    """Names of the files that Ray uploads of a working directory."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    excludes = get_runtime_env_default_excludes()
    create_package(str(folder), target, include_gitignore=True, excludes=excludes)
    with zipfile.ZipFile(target) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_data_runs_and_weights_are_not_uploaded(tmp_path):
    tree = tmp_path / "tree"
    code = {"jobs/a.py", "configs/a.yaml", "qaclims_ray/data/a.py", "qaclims_ray/demo/weights/a"}
    rest = {"data/a.jpg", "runs/a", "weights/a", "tests/a.py", ".git/a", ".venv/a", "b.pth"}
    rest |= {"__pycache__/a", ".pytest_cache/a", "qaclims_ray/__pycache__/a", "data/deep/a.jpg"}
    for name in code | rest:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    assert _packed(tree, tmp_path / "all.zip") > code  # Ray's own defaults are not enough
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tree)
    assert _packed(tree, tmp_path / "few.zip") == code | {".gitignore", ".rayignore"}


def test_the_upload_is_small_and_has_all_code(tmp_path):
    names = _packed(ROOT, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").stat().st_size < 10e6
    for folder in ("qaclims_ray", "jobs", "configs"):
        wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert wanted <= names
    assert "qaclims_ray/demo/weights/blip/model.safetensors" in names
    assert "tests" not in {name.split("/")[0] for name in names}


class Cluster(NamedTuple):
    """Where jobs go, and the environment of those who submit."""

    address: str
    environment: dict[str, str]

    def submit(self, line: str) -> "subprocess.Popen[str]":
        """Start a command of a docstring in the checkout."""
        words = shlex.split(line)
        assert words[0] == "ray"
        return subprocess.Popen(
            [RAY, *words[1:]], cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def status(self) -> dict[str, str]:
        """Of each job by its command, as the Jobs API tells it."""
        with urlopen(f"{self.address}/api/jobs/") as answer:
            return {job["entrypoint"]: job["status"] for job in json.load(answer)}


def _free_ports(number: int) -> list[int]:
    listeners = [socket.socket() for _ in range(number)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head node with the Jobs API, in a process group of its own."""
    gcs, dashboard, client, listen, grpc, runtime, metrics = _free_ports(7)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_enable_metrics_collection": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "OMP_NUM_THREADS": "1",
    }
    # Below a short folder of its own: socket paths are limited to 107 characters.
    with tempfile.TemporaryDirectory(prefix="h", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [
                RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1",
                f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}",
                f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={listen}",
                f"--dashboard-agent-grpc-port={grpc}", f"--runtime-env-agent-port={runtime}",
                f"--metrics-export-port={metrics}", "--object-store-memory=200000000",
                "--num-cpus=6", "--num-gpus=1",
            ],
            env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            found = Cluster(environment["RAY_API_SERVER_ADDRESS"], environment)
            _wait(found, head)
            yield found
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def _wait(cluster: Cluster, head: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert head.poll() is None
        try:
            cluster.status()
            return
        except (URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the cluster did not start")


def _on_demo(line: str, shared: Path, *overrides: str) -> str:
    """A docstring's line on the demo: other configuration, other shared folder, no data set."""
    words = [word for word in line.split() if not word.startswith("data.root=")]
    line = " ".join(words).replace("/shared/", f"{shared}/").replace("s3://bucket/", f"{shared}/")
    line = line.replace("configs/voc12.yaml", "configs/demo.yaml")
    line = line.replace("configs/tune_voc12.yaml", "configs/tune_demo.yaml")
    return shlex.join([*shlex.split(line), *overrides])


def _overrides(small: dict) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in small.items()]


def test_a_job_succeeds_or_fails_as_its_stage_does(cluster, tmp_path, small):
    line = _submit_line("ingest")
    good = cluster.submit(_on_demo(line, tmp_path, *_overrides(small)))
    bad = cluster.submit(_on_demo(line, tmp_path / "bad", "data.num_image=3"))
    shown, wrong = good.communicate()[0], bad.communicate()[0]
    assert good.returncode == 0, shown
    assert "images: 8 rows, 0 errors" in shown
    assert (tmp_path / "voc12" / "images" / "_COMPLETE.json").is_file()
    assert bad.returncode == 1
    assert "data.num_image: unknown key; did you mean 'data.num_images'" in wrong
    assert "Traceback" not in wrong
    found = {"data.num_image=3" in entry: status for entry, status in cluster.status().items()}
    assert found == {False: "SUCCEEDED", True: "FAILED"}


RUN = (
    *("ingest", "build_corpus", "embed_texts", "train_classifier", "train_ritc", "make_cams"),
    *("make_seeds", "train_irn", "make_masks", "train_segmenter", "predict"),
)
"""Jobs in the order in which one needs the other; all others come after them."""
OWN = {
    "import_published": ["model.backbone=resnet50", "model.backbone_weights=null"],
    "tune": [
        "data.num_images=24",
        "train.classifier.batch_size_per_worker=4",
        "train.ritc.batch_size_per_worker=4",
        "tune.num_trials=2",
        "tune.num_finalists=1",
        "tune.seeds=[0]",
        "tune.scheduler=none",
    ],
    "benchmark": ["--quick"],
}
"""What further makes a job take seconds."""
VARIANTS = {"full": {"title": "QA-CLIMS"}}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_job_succeeds_as_its_docstring_shows(cluster, tmp_path, small):
    net = build_cam_net("resnet50", len(CLASSES))
    torch.save(to_published_cam(net.state_dict()), tmp_path / "res50_qa_clims.pth")
    of_a_run = _overrides({**small, "compute.train.num_workers": 1})
    of_a_study = _overrides({"overrides": small, "reporting_seeds": [0], "variants": VARIANTS})
    overrides = {"ablation": of_a_study, "benchmark": []}
    for job in [*RUN, *sorted(set(JOBS) - AT_HOME - set(RUN))]:
        line = _submit_line(job)
        if job == "import_published":
            line = line.replace("run=/shared/voc12", "run=/shared/imported base=[/shared/voc12]")
        further = [*overrides.get(job, of_a_run), *OWN.get(job, ())]
        done = cluster.submit(_on_demo(line, tmp_path, *further))
        shown = done.communicate(timeout=600)[0]
        assert done.returncode == 0, shown
    bad = [entry for entry, status in cluster.status().items() if status != "SUCCEEDED"]
    assert [entry for entry in bad if "data.num_image=3" not in entry] == []
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert made >= {
        "voc12/report.html",
        "voc12/show/sheet.html",
        "voc12/corpus_stats/corpus_stats.json",
        "answers.csv.gz",
        "imported/cam_net/_COMPLETE.json",
        "demo_ablation/table.md",
        "tune_voc12/search/best.yaml",
    }


@pytest.mark.slow
def test_a_job_runs_the_code_that_lies_on_every_node(cluster, tmp_path, small):
    """As configs/kuberay/rayjob.yaml submits: nothing is uploaded."""
    line = _on_demo(_submit_line("ingest"), tmp_path, *_overrides(small))
    local = json.dumps({"working_dir": f"local://{ROOT}"})
    line = line.replace("--working-dir .", f"--runtime-env-json {shlex.quote(local)}")
    done = cluster.submit(line)
    shown = done.communicate()[0]
    assert done.returncode == 0, shown
    assert "Uploading package" not in shown
    assert "images: 8 rows, 0 errors" in shown
