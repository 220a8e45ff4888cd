import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import escape
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.texts import pairs_of
from qaclims_ray.evaluate.rows import score_cams, score_label_map, unpack
from qaclims_ray.evaluate.score import SCORES, report_scores
from qaclims_ray.images.decode import decode_mask, encode_mask
from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.report import page as report
from qaclims_ray.report import sheet
from qaclims_ray.report.panels import grid_picture
from qaclims_ray.run.artifact import ERRORS, Artifact, artifact
from qaclims_ray.run.graph import ARTIFACTS, is_needed, schema_of
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import atomic_open, read_bytes, read_json, write_bytes, write_json
from qaclims_ray.types import NO_CLASS, Answer

CLASSES = ["cat", "<dog> & co", "boat"]
NAME = "image_{}"
WORD = "kitten"
SIDE = 12
NUM_IMAGES = 8

NUM_NEEDED = len(ARTIFACTS) - 1
"""All artifacts but the texts of a CLIP that makes CAMs."""


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    (tmp_path / "run" / "images").mkdir(parents=True)
    return Experiment.model_validate(
        {
            "name": "tiny <run>",
            "run": str(tmp_path / "run"),
            "data": {"kind": "demo", "num_images": NUM_IMAGES},
        }
    )


def write(target: Artifact, rows: list, errors: int = 0, facts: dict | None = None) -> None:
    schema = schema_of(target.name)
    with atomic_open(f"{target.uri}/part-00000.parquet") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    target.complete(Built(len(rows), errors, facts or {}), 2.0, {})


SIZE = {"num_images": 0, "num_pairs": 0}


def truth(index: int) -> np.ndarray:
    label_map = np.zeros((SIDE, SIDE), np.uint8)
    label_map[3:9, 3:9] = index % len(CLASSES) + 1
    return label_map


def make_images(experiment: Experiment) -> list:
    out = io.BytesIO()
    pil.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(out, "PNG")
    rows = [
        {
            "name": NAME.format(i),
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
                answer(label, "fg", WORD),
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


def make_network(experiment: Experiment, name: str, scalar: str = "area") -> None:
    target = artifact(experiment, name)
    for epoch in range(2):
        rows = [
            {"epoch": epoch, "step": 5 * epoch + step, "total": 1 / (1 + step), scalar: 0.1}
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
    write(target, counts)


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
    return read_text(f"{experiment.run}/report.html")


def num_needed(experiment: Experiment) -> int:
    return sum(is_needed(experiment, name) for name in ARTIFACTS)


def read_text(uri: str) -> str:
    return read_bytes(uri).decode()


class Checker(HTMLParser):
    """Collects what a page refers to and checks that its elements nest."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes.update(key for key, _ in attrs)
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
    assert (
        summary
        == f"report: 10 of {num_needed(complete)} artifacts shown · {complete.run}/report.html"
    )
    html = page_of(complete)
    absent = re.findall(r'<p class="absent">\S*/(\w+) is not complete', html)
    made = {name for name in ARTIFACTS if artifact(complete, name).is_complete()}
    assert len(made) == 10
    assert not made.intersection(absent)
    assert html.count("<section>") == 10
    assert "QA-CLIMS CAM" in html
    assert "Made with qaclims_ray" in html
    assert "num_images: 8" in html


def test_the_scores_state_their_values_and_conditions(complete):
    html = page_of(complete)
    text = re.sub("<[^>]*>", " ", html)
    best = read_json(f"{complete.run}/scores/{SCORES}")["best"]
    assert best["miou"] == pytest.approx(1.0)
    assert re.search(r"QA-CLIMS CAM\s+100\.0%\s+100\.0 to 100\.0\s+\S+ points\s+0\.05", text, re.S)
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


def test_no_word_of_a_user_becomes_markup(experiment, monkeypatch):
    evil = """'"><script>alert("x")</script><img src=x onerror=alert(1)>"""
    monkeypatch.setitem(globals(), "WORD", f"{evil}word")
    monkeypatch.setitem(globals(), "NAME", f"{evil}image_{{}}")
    monkeypatch.setitem(globals(), "CLASSES", [f"{evil}class_{i}" for i in range(3)])
    experiment = experiment.model_copy(update={"name": f"{evil}run"})
    images = make_images(experiment)
    make_corpus(experiment, images)
    make_network(experiment, "cam_net", scalar=f"{evil}scalar")
    make_cams(experiment, images, "", outside=0.05)
    sheet.run(experiment)
    report_html, sheet_html = page_of(experiment), read_text(f"{experiment.run}/show/sheet.html")
    for html in (report_html, sheet_html):
        checker = Checker()
        checker.feed(html)
        assert checker.open == []
        assert "script" not in checker.seen
        assert "onerror" not in checker.attributes
        assert all(link.startswith("data:image/") for link in checker.links)
    wanted = ["run", "class_0", "class_2", "image_0"]
    assert all(f"{escape(evil)}{word}" in sheet_html for word in wanted)
    assert all(f"{escape(evil)}{word}" in report_html for word in [*wanted, "word", "scalar"])


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
    for job in ("ingest", "corpus", "train-ritc", "evaluate --baseline"):
        assert f"run qaclims {job} first" in html
    assert f"0 of {num_needed(experiment)} " in report.run(experiment)


def test_a_run_that_does_not_exist_has_no_report(experiment, tmp_path):
    mistyped = experiment.model_copy(update={"run": str(tmp_path / "rnu")})
    with pytest.raises(ValueError, match=r"run: there is nothing in .*/rnu; beside it are run\."):
        report.run(mistyped)
    assert not (tmp_path / "rnu").exists()


def test_what_makes_the_figures_worth_nothing_stands_on_top(experiment):
    images = make_images(experiment)
    make_cams(experiment, images, "", outside=0.2)
    assert '<p class="warning">' not in page_of(experiment)
    target = artifact(experiment, "cams")
    collapsed = {"num_maps": NUM_IMAGES, "num_empty_maps": NUM_IMAGES}
    target.complete(Built(NUM_IMAGES, 0, collapsed), 1.0, {"images": "of before"})
    top, _, _ = page_of(experiment).partition("<section>")
    assert f"cams: {NUM_IMAGES} of {NUM_IMAGES} maps are empty" in top
    assert "cams: stale: images was made anew since: qaclims cams --overwrite" in top
    assert "scores: stale: cams is stale" in top


def test_without_ground_truth_no_job_is_asked_for_scores(experiment):
    write(
        artifact(experiment, "images"), [], facts={"class_names": CLASSES, "num_masks": 0, **SIZE}
    )
    html = page_of(experiment)
    assert "scores: none, as no image has ground truth" in html
    assert "run qaclims evaluate first" not in html
    assert "run qaclims cams first" in html


def test_a_run_with_one_score_only_shows_no_gain(experiment):
    images = make_images(experiment)
    make_cams(experiment, images, "baseline_", outside=0.2)
    html = page_of(experiment)
    assert " points<" not in html
    assert "Baseline CAM" in html
    assert "run qaclims evaluate first" in html


def test_an_artifact_of_another_configuration_is_not_shown_but_explained(complete):
    changed = complete.with_overrides({"train.ritc.epochs": 99})
    html = page_of(changed)
    assert "train.ritc.epochs: 15 → 99" in html
    assert "QA-CLIMS CAM" not in html


def test_every_artifact_has_its_seconds(complete):
    html = page_of(complete)
    made = [name for name in ARTIFACTS if artifact(complete, name).is_complete()]
    assert len(made) == 10
    assert all(f"<tr><td>{name}</td>" in html for name in made)


def test_an_artifact_of_a_base_run_is_marked(complete, tmp_path):
    assert "taken from" not in page_of(complete)
    other = complete.with_overrides({"run": str(tmp_path / "other"), "base": [complete.run]})
    assert f"taken from {complete.run}/images" in page_of(other)


def test_the_grid_picture_is_a_png_with_a_column_per_image(complete):
    small, large = (
        pil.open(io.BytesIO(grid_picture(complete, num_images))) for num_images in (2, 6)
    )
    assert small.format == "PNG"
    assert large.width > 2 * small.width
    assert large.height == small.height


def add_label_maps(experiment: Experiment, images: list) -> None:
    """Give the run pseudo masks and their scores."""
    rows = [label_map_row(image["name"], decode_mask(image["mask"])) for image in images]
    write(artifact(experiment, "masks"), rows)
    scores = read_json(f"{experiment.run}/scores/{SCORES}")
    settings = {key: scores["settings"][key] for key in ("data", "split", "names", "unreadable")}
    settings |= {"unsure": "background"}
    target = artifact(experiment, "mask_scores")
    scores |= {"thresholds": [], "miou": [], "settings": settings}
    write_json(f"{target.uri}/{SCORES}", scores)
    scored = [
        score_label_map(one["name"], decode_mask(one["mask"]), one["mask"], 8, "background")
        for one in images
    ]
    write(target, scored)


def test_label_maps_are_a_further_picture_and_their_scores_a_further_row(complete):
    images = read_table(artifact(complete, "images")).to_pylist()
    before = page_of(complete)
    add_label_maps(complete, images)
    html = page_of(complete)
    assert before.count("<figcaption>Pseudo masks</figcaption>") == 0
    # Beside all others, and among the worst images.
    assert html.count("<figcaption>Pseudo masks</figcaption>") == 2 * NUM_IMAGES
    assert re.findall('<tr class="step ([^"]*)"><th>([^<]*)</th>', html) == [
        ("baseline", "Baseline CAM"),
        ("ours", "QA-CLIMS CAM"),
        ("fourth", "Pseudo masks"),
    ]
    assert before.count(" points<") == 1
    assert html.count(" points<") == 2
    curves = re.findall("<polyline", html.partition("<h2>CAMs, seeds, masks")[0])
    assert len(curves) == 2  # label maps have no threshold


def test_a_sheet_shows_label_maps_and_writes_them(complete):
    images = read_table(artifact(complete, "images")).to_pylist()
    add_label_maps(complete, images)
    sheet.run(complete, names=["image_1"], drawn=["cams", "masks"])
    html = read_text(f"{complete.run}/show/sheet.html")
    assert "<figcaption>Pseudo masks</figcaption>" in html
    written = decode_mask(read_bytes(f"{complete.run}/show/masks/masks/image_1.png"))
    assert np.array_equal(written, truth(1))


def test_what_the_configuration_makes_no_use_of_is_not_missed(experiment):
    own = experiment.with_overrides({"refine.masks.kind": "none"})
    assert "run qaclims train-irn first" in page_of(experiment)
    assert "train-irn" not in page_of(own)
