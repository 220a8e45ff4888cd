import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.report import pictures, sheet
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.types import CamRow, ImageRow


@pytest.fixture
def experiment(demo_run, tmp_path):
    """A run of its own that has all else from the demo run."""
    return demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})


def test_the_sheet_shows_images_with_labels_masks_and_sizes(experiment, tmp_path):
    line = sheet.run(experiment)
    assert line == f"show: 8 images · {tmp_path}/show/sheet.html"
    html = (tmp_path / "show" / "sheet.html").read_text()
    assert html.count('class="panel"') == 8
    assert html.count("<img") == 16
    assert html.count("96 x 96") == 8
    for name in artifact(experiment, "images").require()["facts"]["class_names"]:
        assert name in html
    assert not (tmp_path / "show" / "cams").exists()


def test_chosen_images_with_cams_as_pngs(experiment, tmp_path):
    rows = {row["name"]: row for row in read_table(artifact(experiment, "images")).to_pylist()}
    several = next(name for name, row in rows.items() if len(row["labels"]) > 1)
    single = next(name for name, row in rows.items() if len(row["labels"]) == 1)
    names = [several, single]
    sheet.run(experiment, names=names, drawn=["baseline_cams", "cams"])
    html = (tmp_path / "show" / "sheet.html").read_text()
    labels = rows[several]["labels"]
    assert html.count("<img") == 2 * 4 + 2 * len(labels)
    classes = class_names(artifact(experiment, "images"))
    assert all(html.count(f"CAM: {classes[label]}</figcaption>") == 2 for label in labels)
    assert f"--pictures:{4 + 2 * len(labels)}" in html
    for folder in ("baseline_cams", "cams"):
        files = sorted((tmp_path / "show" / folder / "masks").iterdir())
        assert [file.stem for file in files] == sorted(names)
        for file in files:
            assert pil.open(file).mode == "P"
            values = {*np.unique(decode_mask(file.read_bytes())).tolist()} - {0}
            assert values <= {label + 1 for label in rows[file.stem]["labels"]}
            over = pil.open(tmp_path / "show" / folder / "overlays" / file.name)
            assert over.size == (96, 96)


def test_the_sheet_and_its_pngs_lie_where_they_are_wanted(experiment, tmp_path):
    wanted = tmp_path / "elsewhere"
    line = sheet.run(experiment, num_images=1, drawn=["cams"], folder=str(wanted))
    assert line == f"show: 1 images · {wanted}/sheet.html"
    assert len(list(wanted.glob("cams/*/*.png"))) == 2
    assert not (tmp_path / "show").exists()


def test_a_shard_and_a_number(experiment, tmp_path):
    images = artifact(experiment, "images")
    assert sheet.run(experiment, num_images=3).startswith("show: 3 images")
    sheet.run(experiment, shard=0)
    html = (tmp_path / "show" / "sheet.html").read_text()
    assert "train_000000" in html
    assert 0 < html.count('class="panel"') < 8
    with pytest.raises(ValueError, match=f"shard 99 .* legal are 0 to {len(images.shards()) - 1}"):
        sheet.run(experiment, shard=99)


def test_an_unknown_name_shows_close_ones(experiment):
    with pytest.raises(ValueError, match=r"no image 'train_00001'; .*train_000001"):
        sheet.run(experiment, names=["train_00001"])


def test_missing_cams_name_their_job(make_experiment, demo_run, tmp_path):
    changed = {"base": [demo_run.run], "train.seed": 99}
    other = make_experiment(tmp_path, changed)
    with pytest.raises(ValueError, match=r"run qaclims cams first"):
        sheet.run(other, drawn=["cams"])


def test_any_store_will_do(demo_run):
    other = demo_run.with_overrides({"run": "memory://sheet", "base": [demo_run.run]})
    line = sheet.run(other, num_images=1, drawn=["cams"])
    assert line.endswith("memory://sheet/show/sheet.html")
    assert b"<img" in read_bytes("memory://sheet/show/sheet.html")


def test_labels_that_disagree_with_the_mask_are_said(png):
    row = ImageRow(
        name="<a>",
        image=b"",
        height=2,
        width=2,
        labels=[0],
        mask=png(np.array([[0, 2], [255, 0]], np.uint8)),
    )
    image = np.zeros((2, 2, 3), np.uint8)
    shown = sheet.panel(row, image, ("cat", "dog"), {})
    assert "dog in the mask only" in shown
    assert "cat not in the mask" in shown
    assert "&lt;a&gt;" in shown
    row["mask"], row["labels"] = None, []
    shown = sheet.panel(row, image, ("cat", "dog"), {})
    assert "no label" in shown
    assert "no mask" in shown


def test_more_classes_than_a_mask_holds_are_shown_without_label_maps():
    classes = [f"class {number}" for number in range(600)]
    html = sheet.page("many", [], classes, 2)
    assert all(f">{name}<" in html for name in classes)
    row = CamRow(
        name="a",
        height=1,
        width=2,
        classes=[3, 254],
        cam=np.ones((2, 1, 2), np.float16).tobytes(),
        cam_height=1,
        cam_width=2,
    )
    assert pictures.cam_label_map(row, 0.5) is None
    fits = CamRow({**row, "classes": [3, 253]})
    assert pictures.cam_label_map(fits, 0.5) is not None


def test_an_image_without_known_labels_says_so():
    row = ImageRow(name="a", image=b"", height=1, width=1, labels=None, mask=None)
    assert "labels unknown" in sheet.panel(row, np.zeros((1, 1, 3), np.uint8), ("cat",), {})


@pytest.mark.parametrize("number", [0, -1])
def test_no_image_is_no_sheet(experiment, number):
    with pytest.raises(ValueError, match="1 or more"):
        sheet.run(experiment, num_images=number)


def test_pngs_of_a_long_name_are_written(tmp_path):
    picture, label_map = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    sheet._write_pngs(str(tmp_path), "sub__" * 100, picture, label_map)
    assert len(list(tmp_path.glob("*/*.png"))) == 2


def test_what_cannot_be_drawn_is_refused(demo_run):
    with pytest.raises(
        ValueError, match=r"corpus cannot be drawn .* legal are clip_cams, baseline_cams"
    ):
        sheet.run(demo_run, drawn=["corpus"])


@pytest.mark.parametrize("name", ["../../secret", "/etc/secret", "a/../../secret", "a\x00"])
def test_a_name_of_an_artifact_of_others_leads_nowhere_else(name):
    with pytest.raises(ValueError, match="is not a path below its folder"):
        sheet.png_name(name)


def test_a_name_that_commands_a_terminal_is_no_files_name():
    files = [sheet.png_name(name) for name in ("a\x1b[2J", "a\u202eb", "a\n", "a/b")]
    assert all(file.isprintable() for file in files)
    assert files[-1] == "a/b.png"
    assert len(set(files)) == len(files)
