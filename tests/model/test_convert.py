import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from qaclims_ray.model.convert import convert_irn
from qaclims_ray.model.irn import Irn
from qaclims_ray.model.resnet import resnet50

NAMES = Path(__file__).parents[1] / "golden" / "data" / "irn.json"


def test_a_boundary_network_becomes_a_file_in_our_names(tmp_path):
    with torch.device("meta"):
        net = Irn(resnet50())
    names = json.loads(NAMES.read_text())["state_dict"]["canonical"]
    state = {name: torch.rand(shape) for name, shape in names.items()}
    torch.save(state, tmp_path / "irn.pth")
    line = convert_irn(str(tmp_path / "irn.pth"), str(tmp_path / "irn.safetensors"))
    ours = load_file(tmp_path / "irn.safetensors")
    assert ours.keys() == net.state_dict().keys()
    assert torch.equal(ours["edge_layers.5.weight"], state["fc_edge6.weight"])
    assert line.startswith("irn: 358 tensors")
