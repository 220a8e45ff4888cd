"""Every training on a set that is larger than the cache, interrupted in the middle of an epoch."""

import pytest
import torch
from safetensors.torch import load_file

from qaclims_ray.train.cache import KEY, plan
from qaclims_ray.train.loop import train_here
from qaclims_ray.train.task import TRAININGS, section_key


class Interrupted:
    """Keeps the last state, and ends the training after a step, once."""

    def __init__(self, after=None):
        self.state = None
        self._after = after

    def load(self):
        return self.state

    def save(self, state, metrics):
        self.state = torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, dict(state))
        if state["step"] == self._after:
            self._after = None
            raise KeyboardInterrupt


@pytest.mark.parametrize("network", TRAININGS)
def test_every_training_goes_on_in_the_middle_of_an_epoch(demo_run, tmp_path, network):
    own = {"batch_size_per_worker": 2, "epochs": 2, "augment.crop": 64, "augment.flip": True}
    overrides = {f"{section_key(network)}.{key}": value for key, value in own.items()}
    overrides |= {"compute.train.checkpoint_every": 3, "compute.train.num_loader_workers": 0}

    def trained(folder, checkpointer):
        run = tmp_path / folder
        experiment = demo_run.with_overrides({"run": str(run), "base": [demo_run.run], **overrides})
        whole = plan(experiment, network)
        cache = {KEY: (4 * int(whole.found.groups.sizes.max()) + 1000) / 1e9}
        made = plan(experiment.with_overrides(cache), network)
        assert made.buffer_bytes is not None
        train_here(experiment, network, made, checkpointer)
        return load_file(run / network / "model.safetensors")

    expected = trained("straight", Interrupted())
    checkpointer = Interrupted(after=3)
    with pytest.raises(KeyboardInterrupt):
        trained("interrupted", checkpointer)
    assert checkpointer.state["step"] == 3
    assert checkpointer.state["buffer_bytes"] > 0
    for name, value in trained("interrupted", checkpointer).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
