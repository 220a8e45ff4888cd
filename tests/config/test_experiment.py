import pytest
import yaml
from pydantic import ValidationError

from qaclims_ray.config.data import Demo, Folder, Images, Voc12
from qaclims_ray.config.experiment import Experiment, dump, load, read_yaml, resolve
from qaclims_ray.config.train import Ritc

CONFIG = """\
name: demo
run: runs/demo
data: {kind: demo, num_images: 5}
train:
  ritc: {epochs: 3, loss: {foreground: 40}}
"""


SERVER = {"kind": "server", "url": "http://localhost/v1", "model": "m"}
MARKED = "marked-secret"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(CONFIG)
    return path


def test_class_default_is_below_yaml_is_below_override(config):
    loss = load(config, {"train.ritc.loss.background": 7}).train.ritc.loss
    assert (loss.foreground, loss.background, loss.area) == (40, 7, Ritc().loss.area)
    assert load(config, {"train.ritc.loss.foreground": 3}).train.ritc.loss.foreground == 3
    assert load(config, {"train.ritc.loss.foreground": 3}).train.ritc.epochs == 3


def test_an_override_may_change_the_kind_of_data(config):
    with pytest.raises(ValueError, match=r"data\.num_images: unknown key"):
        load(config, {"data.kind": "folder", "data.root": "pictures"})
    changed = load(config, {"data": {"kind": "folder", "root": "pictures"}})
    assert changed.data == Folder(kind="folder", root="pictures")


def test_the_saved_tree_loads_to_an_equal_experiment(config, tmp_path):
    overrides = {
        "base": ["a", "b"],
        "corpus.texts.backgrounds": ["sky", "grass"],
        "corpus.expected_names": {"cat": ["kitten"]},
        "train.ritc.augment": {"resize_long": None, "crop": None},
        "train.ritc.optimiser.learning_rate": "1e-7",
        "name": "Größe: 1 # no comment",
    }
    experiment = load(config, overrides)
    saved = tmp_path / "saved.yaml"
    saved.write_text(dump(experiment), encoding="utf-8")
    assert load(saved) == experiment
    assert Experiment.model_validate(experiment.plain()) == experiment


def test_the_experiment_is_frozen(config):
    with pytest.raises(ValidationError, match="frozen"):
        load(config).train.seed = 1


def test_overrides_of_an_experiment_make_a_validated_copy(config):
    experiment = load(config)
    other = experiment.with_overrides({"train.seed": "4", "data.split": "val"})
    assert (other.train.seed, experiment.train.seed) == (4, 0)
    assert isinstance(other.data, Demo)
    assert other.with_overrides({"train.seed": 0, "data.split": "train"}) == experiment
    with pytest.raises(ValueError, match=r"train\.sed: unknown key; did you mean 'train\.seed'"):
        experiment.with_overrides({"train.sed": 1})


def test_errors_name_the_file(config):
    with pytest.raises(ValueError, match=r"demo\.yaml:\n  train\.seed: "):
        load(config, {"train.seed": "many"})


def test_an_absent_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.yaml': no such file"):
        load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(("text", "found"), [("- a\n", "list"), ("", "NoneType"), ("3", "int")])
def test_a_file_without_a_mapping_is_an_error(tmp_path, text, found):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"expected a mapping, got {found}"):
        read_yaml(path)


def test_resolve_points_into_the_package():
    assert resolve("package:types.py").endswith("qaclims_ray/types.py")
    assert resolve("ViT-L-14") == "ViT-L-14"


def test_yaml_of_an_experiment_is_plain(config):
    tree = yaml.safe_load(dump(load(config)))
    assert list(tree)[:4] == ["name", "run", "base", "data"]
    assert list(tree)[-1] == "compute"


@pytest.mark.parametrize(
    "value",
    [
        "s3://marked-key:marked-secret@bucket/run",
        "https://marked-secret@host/x",
        "https://host/x?a=1&X-Amz-Signature=marked-secret",
    ],
)
def test_credentials_in_a_value_are_refused_and_not_repeated(config, value):
    with pytest.raises(ValueError, match=r"run: .* was given with credentials") as caught:
        load(config, {"run": value})
    assert "marked" not in str(caught.value)
    with pytest.raises(ValueError, match="the storage takes them from its environment"):
        load(config).with_overrides({"run": value})


def test_an_address_with_a_port_or_a_query_holds_no_credentials(config):
    for value in ("https://host:8000/v1", "https://host/list.csv?raw=1", "a@b/run"):
        assert load(config, {"run": value}).run == value


def test_new_images_take_what_they_do_not_say_from_the_data():
    tree = {
        "name": "x",
        "run": "y",
        "data": {"kind": "voc12", "root": "here", "limit": 7},
        "new_images": {"split": "val"},
    }
    new = Experiment.model_validate(tree).new_images
    assert new == Voc12(kind="voc12", root="here", limit=7, split="val")
    other = {**tree, "new_images": {"kind": "images", "location": "photos"}}
    assert Experiment.model_validate(other).new_images == Images(kind="images", location="photos")


@pytest.mark.parametrize(
    "override",
    [
        {"corpus.engine": {**SERVER, "extra": {"api_key": MARKED}}},
        {"corpus.engine": {**SERVER, "extra": {"more": {"Authorization": MARKED}}}},
        {"corpus.engine": {"kind": "vllm", "model": "m", "engine_kwargs": {"hf_token": MARKED}}},
        {"data.root": f"https://host/x?access_token={MARKED}"},
        {"data.root": f"https://host/x?a=1&api_key={MARKED}"},
    ],
)
def test_a_credential_in_the_configuration_is_refused_unseen(override, config):
    """Every manifest and report would keep it."""
    experiment = load(config, {"data": {"kind": "folder", "root": "x"}})
    with pytest.raises(ValueError, match="credential") as caught:
        experiment.with_overrides(override)
    assert MARKED not in str(caught.value)


def test_further_fields_that_are_no_credentials_stay(config):
    fields = {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": None, "top_k": 1}
    changed = load(config, {"corpus.engine": {**SERVER, "extra": fields}})
    assert changed.plain()["corpus"]["engine"]["extra"] == fields
