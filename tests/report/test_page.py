import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.texts import pairs_of
from qaclims_ray.evaluate.rows import score_cams, unpack
from qaclims_ray.evaluate.score import SCORES, report_scores
from qaclims_ray.images.decode import encode_mask
from qaclims_ray.report import page as report
from qaclims_ray.report.pictures import grid_picture
from qaclims_ray.report.stages import stage_table
from qaclims_ray.run.artifact import ERRORS, Artifact, Built, artifact
from qaclims_ray.run.graph import RECIPES
from qaclims_ray.storage.files import atomic_open, read_bytes, read_json, write_bytes, write_json
from qaclims_ray.types import NO_CLASS, SCHEMAS, Answer

CLASSES = ["cat", "<dog> & co", "boat"]
SIDE = 12
NUM_IMAGES = 8


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "tiny <run>",
            "run": str(tmp_path / "run"),
            "data": {"kind": "demo", "num_images": NUM_IMAGES},
        }
    )


def write(target: Artifact, rows: list, errors: int = 0, facts: dict | None = None) -> None:
    schema = SCHEMAS[target.name.removeprefix("baseline_")]
    with atomic_open(f"{target.uri}/part-00000.parquet") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    target.complete(Built(len(rows), errors, facts or {}), 2.0, {})


def truth(index: int) -> np.ndarray:
    label_map = np.zeros((SIDE, SIDE), np.uint8)
    label_map[3:9, 3:9] = index % len(CLASSES) + 1
    return label_map


def make_images(experiment: Experiment) -> list:
    out = io.BytesIO()
    pil.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(out, "PNG")
    rows = [
        {
            "name": f"image_{i}",
            "image": out.getvalue(),
            "height": SIDE,
            "width": SIDE,
            "labels": [i % len(CLASSES)],
            "mask": encode_mask(truth(i)),
        }
        for i in range(NUM_IMAGES)
    ]
    facts = {"class_names": CLASSES, "num_images": NUM_IMAGES, "num_pairs": NUM_IMAGES}
    write(artifact(experiment, "images"), rows, facts=facts)
    return rows


def answer(label: int, kind: str, text: str) -> Answer:
    return Answer(label=label, kind=kind, question=f"{kind}?", answer=f"{text}s", lemma=text)


def make_corpus(experiment: Experiment, images: list) -> None:
    rows = [
        {
            "name": image["name"],
            "answers": [
                answer(label, "fg", "kitten"),
                answer(label, "bg", "sofa"),
                answer(label, "bg", CLASSES[label]),
            ],
        }
        for image in images[:-1]
        for label in image["labels"]
    ]
    target = artifact(experiment, "corpus")
    errors = pa.table({"name": ["image_7"], "reason": ["ValueError: <broken>"]})
    with atomic_open(f"{target.uri}/{ERRORS}/part-00000.parquet") as file:
        pq.write_table(errors, file)
    write(target, rows, errors=1)
    write(
        artifact(experiment, "pairs"), [pairs_of(row, CLASSES, experiment.corpus) for row in rows]
    )
    write(artifact(experiment, "texts"), [{"text": "sofa", "feature": [1.0]}])


def make_network(experiment: Experiment, name: str) -> None:
    target = artifact(experiment, name)
    for epoch in range(2):
        rows = [
            {"epoch": epoch, "step": 5 * epoch + step, "total": 1 / (1 + step), "area": 0.1}
            | {"images_per_second": 8.0}
            for step in range(5)
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        write_bytes(f"{target.uri}/metrics/epoch-{epoch:03d}.jsonl", lines.encode())
    target.complete(Built(16, 0, {}), 3.0, {})


def make_cams(experiment: Experiment, images: list, prefix: str, outside: float) -> None:
    def cam(index: int) -> bytes:
        return np.where(truth(index) > 0, 1, outside).astype(np.float16).tobytes()

    rows = [
        {
            "name": image["name"],
            "height": SIDE,
            "width": SIDE,
            "classes": image["labels"],
            "cam": cam(i),
            "cam_height": SIDE,
            "cam_width": SIDE,
        }
        for i, image in enumerate(images)
    ]
    write(artifact(experiment, f"{prefix}cams"), rows)
    masks = {image["name"]: image["mask"] for image in images}
    counts = score_cams(rows, masks, experiment.evaluate.thresholds, len(CLASSES))
    target = artifact(experiment, f"{prefix}scores")
    tallies = [unpack(row) for row in counts]
    result = report_scores(tallies, experiment, CLASSES, scored=f"{prefix}cams")
    write_json(f"{target.uri}/{SCORES}", result)
    target.complete(Built(len(rows), 0, {}), 1.0, {})


@pytest.fixture
def complete(experiment: Experiment) -> Experiment:
    images = make_images(experiment)
    make_corpus(experiment, images)
    make_network(experiment, "classifier")
    make_network(experiment, "cam_net")
    make_cams(experiment, images, "baseline_", outside=0.995)
    make_cams(experiment, images, "", outside=0.05)
    return experiment


def page_of(experiment: Experiment) -> str:
    report.run(experiment)
    return read_bytes(f"{experiment.run}/report.html").decode()


class Checker(HTMLParser):
    """Collects what a page refers to and checks that its elements nest."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_well_formed_file_without_scripts_or_requests(complete):
    html = page_of(complete)
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert "script" not in checker.seen
    assert checker.links
    assert all(link.startswith("data:image/") for link in checker.links)
    assert "url(" not in html
    assert "@import" not in html


def test_a_complete_run_shows_every_part_and_lacks_nothing(complete):
    summary = report.run(complete)
    assert summary == f"report: 10 of 10 artifacts shown · {complete.run}/report.html"
    html = page_of(complete)
    assert 'class="absent"' not in html
    assert html.count("<section>") == 8
    assert "QA-CLIMS CAM" in html
    assert "Made with qaclims_ray" in html
    assert "num_images: 8" in html


def test_the_scores_state_their_values_and_conditions(complete):
    html = page_of(complete)
    text = re.sub("<[^>]*>", " ", html)
    best = read_json(f"{complete.run}/scores/{SCORES}")["best"]
    assert best["miou"] == pytest.approx(1.0)
    assert re.search(r"Best mIoU.*?100\.0%\s+100\.0% to 100\.0%, threshold 0\.05", text, re.S)
    for condition in (
        "8 images with ground truth of demo, split train",
        "scales 1, 0.5, 1.5, 2",
        "activation relu",
        "resolution strided",
        "refinement none",
        "CRF off",
        "4 classes, background included",
    ):
        assert condition in text


def test_words_of_users_are_escaped(complete):
    html = page_of(complete)
    assert "<dog>" not in html
    assert "&lt;dog&gt; &amp; co" in html
    assert "<h1>tiny &lt;run&gt;</h1>" in html
    assert "ValueError: &lt;broken&gt;" in html


def test_answers_about_no_class_are_those_of_the_image(experiment):
    make_images(experiment)
    answers = [answer(NO_CLASS, "bg", "beach"), answer(0, "fg", "kitten")]
    write(artifact(experiment, "corpus"), [{"name": "image_0", "answers": answers}])
    cards = re.findall(r"<article.*?</article>", page_of(experiment), re.S)
    assert [re.findall("<h3>(.*?)</h3>", card) for card in cards] == [["(image)"], ["cat"]]
    assert "beach" in cards[0]


def test_a_run_in_cloud_storage_gets_its_page_there(experiment):
    remote = experiment.model_copy(update={"run": f"memory:/{experiment.run}"})
    make_corpus(remote, make_images(remote))
    html = page_of(remote)
    assert "sofa" in html
    assert report.run(remote).endswith(f"{remote.run}/report.html")


def test_an_empty_run_says_which_jobs_to_run(experiment):
    html = page_of(experiment)
    for job in ("ingest.py", "build_corpus.py", "train_ritc.py", "evaluate.py --baseline"):
        assert f"run jobs/{job} first" in html
    assert "0 of 10" in report.run(experiment)


def test_a_run_with_one_score_only_shows_no_difference(experiment):
    images = make_images(experiment)
    make_cams(experiment, images, "baseline_", outside=0.2)
    html = page_of(experiment)
    assert "<th>Difference</th>" not in html
    assert "Baseline CAM" in html
    assert "run jobs/evaluate.py first" in html


def test_an_artifact_of_another_configuration_is_not_shown_but_explained(complete):
    changed = complete.with_overrides({"train.ritc.epochs": 99})
    html = page_of(changed)
    assert "train.ritc.epochs: 15 → 99" in html
    assert "QA-CLIMS CAM" not in html


def test_every_artifact_has_its_seconds(complete):
    html = page_of(complete)
    assert all(f"<tr><td>{name}</td>" in html for name in RECIPES)


def test_an_artifact_of_a_base_run_is_marked(complete):
    manifests = {"images": artifact(complete, "images").require()}
    assert "taken from" not in stage_table(manifests, {"images": "/runs/a/images"}, "/runs/a")
    table = stage_table(manifests, {"images": "/runs/base/images"}, "/runs/a")
    assert "taken from /runs/base/images" in table


def test_the_grid_picture_is_a_png_with_a_column_per_image(complete):
    small, large = (
        pil.open(io.BytesIO(grid_picture(complete, num_images))) for num_images in (2, 6)
    )
    assert small.format == "PNG"
    assert large.width > 2 * small.width
    assert large.height == small.height
