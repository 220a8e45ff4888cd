"""Ctrl-C while Ray trains or searches, and after it: the job ends as interrupted, at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import ray.train.torch

from qaclims_ray.cli import INTERRUPTED
from qaclims_ray.cluster.session import ENVIRONMENT
from qaclims_ray.cluster.training import fit
from tests.build import WAITING_JOB

JOB = (
    WAITING_JOB
    + """
def main():
    start(Compute(num_cpus=3, object_store_megabytes=100))
    if what == "search":
        ray.tune.Tuner(
            wait,
            param_space={"a": ray.tune.grid_search([1, 2, 3])},
            tune_config=ray.tune.TuneConfig(max_concurrent_trials=1),
            run_config=ray.tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    else:
        trainer = ray.train.torch.TorchTrainer(
            wait if what == "training" else lambda: None,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        fit(trainer)
        wait()
    Path(folder, "ended").touch()

run_job(main)
"""
)


def test_ray_leaves_the_signal_to_python():
    class Trainer(ray.train.torch.TorchTrainer):
        def fit(self):
            if threading.current_thread() is threading.main_thread():  # as Ray's trainers do
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise ValueError("no such training")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="no such training"):
        fit(Trainer(lambda: None))
    assert signal.getsignal(signal.SIGINT) is before
    assert int(ENVIRONMENT["TUNE_DISABLE_SIGINT_HANDLER"])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["training", "what follows a training", "search"])
def test_an_interrupted_job_says_so_in_one_line(what, tmp_path):
    command = [sys.executable, "-c", JOB, what, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert (out, told) == ("", "interrupted: the same command goes on from here\n")
    assert not (tmp_path / "ended").exists()
