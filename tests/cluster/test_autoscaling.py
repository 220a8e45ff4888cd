"""From no worker at all: Ray's autoscaler starts what a stage asks for, and ends it afterwards.

The node kinds are those of `cluster.yaml`; Ray's fake provider starts processes on this machine for
them, with fewer CPUs.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CPUS = 3
IDLE_MINUTES = 0.2


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def _launcher() -> dict:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def _fake(address: str) -> dict:
    """The launcher's configuration for processes in place of machines."""
    launcher = _launcher()
    kinds = launcher["available_node_types"]
    head = kinds.pop(launcher["head_node_type"])
    fewer = {
        name: {
            "resources": {**kind["resources"], "CPU": CPUS},
            "node_config": {},
            "min_workers": kind["min_workers"],
            "max_workers": kind["max_workers"],
        }
        for name, kind in kinds.items()
    }
    commands = [f"{who}{what}_commands" for who in ("head_", "worker_") for what in ("setup",)]
    commands += ["setup_commands", "initialization_commands"]
    commands += ["head_start_ray_commands", "worker_start_ray_commands"]
    return {
        "cluster_name": launcher["cluster_name"],
        "max_workers": launcher["max_workers"],
        "upscaling_speed": launcher["upscaling_speed"],
        "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": head["resources"], "node_config": {}},
            **fewer,
        },
        **{command: [] for command in commands},
    }


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Of a head node that `ray up` made: its configuration lies in the home folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(_launcher()))
    return {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def address(environment, tmp_path) -> Iterator[str]:
    """A head node without CPUs, and nothing else."""
    host = socket.gethostbyname(socket.gethostname())
    address = f"{host}:{_free_port()}"
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(_fake(address)))
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "ray"),
                *("start", "--head", "--block", "--num-cpus=0", "--include-dashboard=false"),
                f"--node-ip-address={host}",
                f"--port={address.rpartition(':')[2]}",
                f"--autoscaling-config={config}",
                f"--temp-dir={folder}",
                "--object-store-memory=150000000",
            ],
            env=environment,
            stdout=(tmp_path / "head.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield address
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            _end_workers(folder)


def _end_workers(folder: str) -> None:
    """The nodes that the autoscaler started have process groups of their own."""
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and folder in (entry / "cmdline").read_text()
            if mine and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        except (OSError, UnicodeDecodeError):
            continue


def _run(environment, address, run, *more, job):
    command = [sys.executable, f"jobs/{job}.py", "--config", "configs/demo.yaml", f"run={run}"]
    small = ["data.num_images=6", "compute.ingest.num_actors=1", f"compute.address={address}"]
    return subprocess.run(
        [*command, *small, *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def _resources(environment, address) -> dict[str, float]:
    look = "import json, ray; quiet = {'logging_level': 'ERROR', 'log_to_driver': False}; "
    look += f"ray.init('{address}', **quiet); "
    look += "print(json.dumps(ray.cluster_resources()))"
    done = subprocess.run(
        [sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_stages_start_the_nodes_they_need_and_leave_none(environment, address, tmp_path):
    run = tmp_path / "run"
    too_much = ["compute.corpus.num_actors=5", "compute.corpus.num_gpus=1"]
    done = _run(environment, address, run, job="ingest")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "GPU" not in _resources(environment, address)
    done = _run(environment, address, run, *too_much, job="build_corpus")
    assert done.returncode == 1
    assert "5 GPUs are needed, the Ray cluster has 4" in done.stderr
    done = _run(environment, address, run, "compute.corpus.num_gpus=0.5", job="build_corpus")
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("corpus: 6 rows, 0 errors")
    end = time.monotonic() + 240
    while _resources(environment, address).get("GPU"):
        assert time.monotonic() < end, "the GPU node is still there"
        time.sleep(2)
