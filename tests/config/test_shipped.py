import pytest

from qaclims_ray.config.experiment import load
from qaclims_ray.config.shipped import config_file, shipped_configs


def test_a_configuration_is_found_by_its_path_or_by_its_name(demo_config, tmp_path, monkeypatch):
    assert config_file(demo_config) == demo_config
    monkeypatch.chdir(tmp_path)
    assert config_file("demo") == shipped_configs()["demo"] == demo_config
    assert load("demo") == load(demo_config)
    (tmp_path / "demo").write_text("a file of one's own comes first")
    assert config_file("demo").read_text().startswith("a file")


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").touch()
    assert config_file("~/own.yaml") == tmp_path / "own.yaml"


@pytest.mark.parametrize("asked", ["dmo", "configs/dmo.yaml", "elsewhere/demo.yaml"])
def test_one_that_is_not_there_gets_a_near_name_and_the_list(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no such file; did you mean 'demo'\? By name there"):
        config_file(asked)


def test_a_name_that_is_like_none_gets_the_list_alone():
    with pytest.raises(ValueError, match=r"'zzzz': no such file; By name there are coco14, "):
        config_file("zzzz")
