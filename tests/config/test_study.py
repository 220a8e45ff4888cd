import pytest

from qaclims_ray.config.experiment import load
from qaclims_ray.config.study import load_study

STUDY = """\
config: ../base.yaml
run: runs/study
tuning: {data.split: tune}
reporting: {data.split: train}
reporting_seeds: [0, 5]
variants:
  full: {title: QA-CLIMS}
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\nrun: runs/base\ndata: {kind: demo}\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a.yaml").write_text(STUDY)
    return tmp_path / "studies" / "a.yaml"


def test_the_base_experiment_is_found_beside_the_study(path, tmp_path):
    assert load(load_study(path).config) == load(tmp_path / "base.yaml")


def test_overrides_are_of_the_studys_own_keys(path):
    assert load_study(path, {"run": "elsewhere", "reporting_seeds": [1]}).reporting_seeds == (1,)
    with pytest.raises(ValueError, match=r"a\.yaml:\n  tunning: unknown key; did you mean 'tuning"):
        load_study(path, {"tunning": {}})
    with pytest.raises(ValueError, match=r"a\.yaml:\n  variants\.full\.netwrk: unknown key"):
        load_study(path, {"variants.full.netwrk": "cam_net"})


def test_a_study_is_found_by_its_name():
    assert load(load_study("demo_ablation").config).name == "demo"
