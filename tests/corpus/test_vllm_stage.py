"""Questions go through Ray Data's processor and come back as the corpus of any other engine.

vLLM itself cannot run here. All else is real: Ray, its processor as our options build it, and its
handling of rows. In place of the stages that import vLLM stands one that answers with a digest.
"""

import asyncio
import hashlib
import logging

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from ray.data.llm import vLLMEngineProcessorConfig
from ray.llm._internal.batch.stages import StatefulStage
from ray.llm._internal.batch.stages.base import StatefulStageUDF

from qaclims_ray.config.compute import Pool
from qaclims_ray.config.corpus import Vllm
from qaclims_ray.corpus import stage as corpus
from qaclims_ray.corpus import vllm_stage as stage
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines.server import data_url
from qaclims_ray.images.decoded import decode_row
from qaclims_ray.run.artifact import Artifact, Built, artifact
from qaclims_ray.run.blocks import Work, work_schema
from qaclims_ray.run.tables import read_errors, read_parquet, read_table
from qaclims_ray.storage.files import atomic_open, find
from qaclims_ray.types import SCHEMAS

CLASSES = ["cat", "dog"]
MODEL = "package:demo/weights/blip"  # whose configuration Ray looks at
QUESTIONS = {"foreground": ["which {}?"], "background": ["above the {}?", "below the {}?"]}
NUM_IMAGES = 12
POOL = {"num_actors": 1, "num_cpus": 0.5, "batch_size": 4, "block_rows": 2}


def digest(url, text):
    """An answer that only this image and this question have."""
    return hashlib.sha256(f"{url} {text}".encode()).hexdigest()[:12]


@pytest.fixture
def experiment(make_experiment, tmp_path, png):
    """Twelve images in two shards, one of them without labels; complete."""
    engine = {"kind": "vllm", "model": MODEL, "instruction": "Be short."}
    made = make_experiment(
        tmp_path,
        {
            "corpus.engine": engine,
            "corpus.questions": QUESTIONS,
            "compute.corpus": POOL,
            "data.shard_megabytes": 64,
        },
    )
    write_images(made, png)
    return made


def write_images(experiment, png, torn=()):
    rows = [
        {
            "name": f"i{index:02d}",
            "image": png(np.full((6, 8, 3), 20 * index, np.uint8))[: 30 if index in torn else None],
            "labels": [[0], [1], [0, 1], []][index % 4],
        }
        for index in range(NUM_IMAGES)
    ]
    target = artifact(experiment, "images")
    for number, part in enumerate((rows[:8], rows[8:])):
        with atomic_open(f"{target.uri}/part-{number:05d}.parquet") as file:
            pq.write_table(pa.Table.from_pylist(part, SCHEMAS["images"]), file, row_group_size=3)
    target.complete(Built(NUM_IMAGES, 0, {"class_names": CLASSES}), 1.0, {})


@pytest.fixture
def asked(local_ray, monkeypatch, tmp_path):
    """Replace what needs vLLM; the file that lists the questions which reached the model.

    The processor keeps the engine's place (its actors and resources) but runs `Digest` there, with
    the columns that the engine takes and gives; the two stages before it, which only prepare those
    columns, are left out. The question that a file `refuse` names fails; the one that a file `stop`
    names ends the run once something is written.
    """
    log = tmp_path / "asked.txt"
    digest_here = digest

    class Digest(StatefulStageUDF):
        async def udf(self, rows):
            for row in rows:
                ((message,)) = row["messages"]
                picture, text = message["content"]
                question = text["text"]
                assert row["sampling_params"] == {"temperature": 0.0, "max_tokens": 10}
                if told("stop") == row["name"]:
                    while not any(tmp_path.rglob("checkpoint/*.parquet")):
                        await asyncio.sleep(0.1)
                    raise RuntimeError("pulled the plug")
                with log.open("a") as file:
                    file.write(f"{row['name']}\n")
                yield {
                    self.IDX_IN_BATCH_COLUMN: row[self.IDX_IN_BATCH_COLUMN],
                    "generated_text": digest_here(picture["image_url"]["url"], question),
                    "__inference_error__": "refused" if told("refuse") == row["name"] else "",
                }

    def told(order):
        file = tmp_path / order
        return file.read_text() if file.exists() else "(nothing)"

    build = stage.build_processor

    def build_without_vllm(*arguments, **options):
        processor = build(*arguments, **options)
        place = processor.stages["vLLMEngineStage"].map_batches_kwargs
        processor.stages.clear()
        processor.stages["Digest"] = StatefulStage(fn=Digest, map_batches_kwargs=place)
        return processor

    monkeypatch.setattr(stage, "_check_installed", lambda: None)
    monkeypatch.setattr(stage, "build_processor", build_without_vllm)
    return log


class DigestEngine:
    """The same answers from an ordinary engine."""

    def answer(self, images, questions, *, names):
        return [
            [digest(data_url(image), f"{text} Be short.") for text in asked]
            for image, asked in zip(images, questions, strict=True)
        ]


def expected(experiment):
    images = read_table(artifact(experiment, "images"), ["name", "image", "labels"]).to_pylist()
    rows = [row for row in map(decode_row, images) if row["error"] is None]
    return answer_all(rows, DigestEngine(), CLASSES, experiment.corpus.questions)


def rows_of(experiment):
    return read_table(artifact(experiment, "corpus")).to_pylist()


@pytest.mark.slow
def test_an_interrupted_corpus_goes_on_and_is_that_of_an_engine_with_the_same_answers(
    experiment, asked, png, tmp_path
):
    """But for an image of which one question fails, and one that is torn and never asked about."""
    write_images(experiment, png, torn=[4])
    (tmp_path / "refuse").write_text("i01#0001")
    stop = tmp_path / "stop"
    stop.write_text("i10#0005")
    with pytest.raises(RuntimeError, match="pulled the plug"):
        corpus.run(experiment)
    stop.unlink()
    (work,) = tmp_path.glob("corpus/_work/*/asked/_work/*")
    committed = set(pads.dataset(work / "checkpoint").to_table()["name"].to_pylist())
    before = asked.read_text().split()
    assert "10 rows, 2 errors, 30 answers" in corpus.run(experiment)

    rows = expected(experiment)
    assert rows_of(experiment) == [row for row in rows if row["name"] != "i01"]
    errors = read_errors(artifact(experiment, "corpus")).to_pylist()
    assert [row["name"] for row in errors] == ["i01", "i04"]
    assert errors[0]["reason"] == "refused"
    assert errors[1]["reason"].startswith("ValueError: ")

    after = asked.read_text().split()[len(before) :]
    assert len(after) == len(set(after))
    again = set(after) & committed
    assert again <= {"i01#0001"}  # a failed question is tried again
    assert committed
    assert set(after) | {name for name in committed if not name.startswith("i04")} == {
        f"{row['name']}#{number:04d}" for row in rows for number, _ in enumerate(row["answers"])
    }


def answers_of(experiment):
    """Rows of single answers, as the processor's answers are recorded."""
    return [
        {"name": f"{row['name']}#{number:04d}", "answers": [answer], "error": None}
        for row in expected(experiment)
        for number, answer in enumerate(row["answers"])
    ]


def write_answers(asked, rows, file):
    Work(asked).put(file, pa.Table.from_pylist(rows, work_schema("corpus")))


@pytest.fixture
def interrupted(experiment, monkeypatch):
    """The answers' blocks of a corpus under way; no Ray, no vLLM."""
    target = artifact(experiment, "corpus")
    target.start({"images": artifact(experiment, "images").require()["identity"]})
    monkeypatch.setattr(corpus, "start", lambda compute: None)
    monkeypatch.setattr(stage, "_check_installed", lambda: None)
    monkeypatch.setattr(stage, "_map", None)
    return Artifact("corpus", f"{target.work}/asked", {})


def test_nothing_is_started_where_every_answer_is_there(experiment, interrupted):
    write_answers(interrupted, answers_of(experiment)[::-1], "x")
    corpus.run(experiment)
    assert rows_of(experiment) == expected(experiment)


def test_questions_that_failed_are_asked_again(experiment, interrupted, monkeypatch):
    first, *others = answers_of(experiment)
    write_answers(interrupted, [{**first, "answers": None, "error": "busy"}, *others], "x")

    def ask(experiment, listed, asked, total, per_image):
        (left,) = find(f"{asked.work}/rows/*.parquet")
        assert read_parquet(left)["name"].to_pylist() == [row["name"] for row in others]
        assert (len(listed), total, per_image) == (2, 36, 3)
        write_answers(asked, [first], "y")

    monkeypatch.setattr(stage, "_map", ask)
    assert "12 rows, 0 errors" in corpus.run(experiment)
    assert rows_of(experiment) == expected(experiment)


def test_failed_images_are_counted_and_too_many_end_the_run():
    def row(name, error=""):
        known = {"name": name, "label": 0, "kind": "fg", "question": "which cat?", "extra": b"..."}
        return {**known, "generated_text": "Tom", "__inference_error__": error}

    record = stage.Recorder(max_errors=1)
    rows = [row("a#0000"), row("a#0001", "too long"), row("a#0002", "too long")]
    recorded = record(pa.Table.from_pylist(rows))
    assert recorded.schema == work_schema("corpus")
    assert recorded["error"].to_pylist() == [None, "too long", "too long"]
    assert recorded["answers"][0].as_py()[0]["answer"] == "tom"
    # Rows that never reached the model have no column of answers.
    unseen = pa.Table.from_pylist([row("b#0000", "torn")]).drop_columns("generated_text")
    with pytest.raises(ValueError, match=r"data.max_errors = 1 images failed.*b#0000: torn"):
        record(unseen)


@pytest.mark.parametrize(
    ("workers", "resources"), [(1, {"num_cpus": 2, "num_gpus": 0.25}), (2, {"num_gpus": 0})]
)
def test_ray_builds_the_processor_that_is_meant(local_ray, workers, resources):
    """Not run, as its stages import vLLM when they start."""
    engine = Vllm(
        kind="vllm",
        model=MODEL,
        precision="bfloat16",
        engine_kwargs={
            "max_model_len": 512,
            "tensor_parallel_size": workers,
            "trust_remote_code": True,
        },
    )
    pool = Pool(num_actors=2, max_actors=3, num_cpus=2, num_gpus=0.25, batch_size=16)
    level = logging.getLogger("ray").level
    built = stage.build(engine, pool, 100)
    assert logging.getLogger("ray").level == level
    assert built.list_stage_names() == [
        "PrepareMultimodalStage",
        "ChatTemplateStage",
        "vLLMEngineStage",
    ]
    prepare, template, llm = (one.map_batches_kwargs for one in built.stages.values())
    assert prepare["num_cpus"] == template["num_cpus"] == 0
    assert resources.items() <= llm.items()
    assert (llm["compute"].min_size, llm["compute"].max_size) == (2, 3)
    options = built.stages["vLLMEngineStage"].fn_constructor_kwargs
    assert options["batch_size"] == 16
    assert options["should_continue_on_error"]
    given = {"max_model_len": 512, "dtype": "bfloat16", "enable_prefix_caching": True}
    assert given.items() <= options["engine_kwargs"].items()
    parser = built.stages["PrepareMultimodalStage"].fn_constructor_kwargs
    assert parser["chat_template_content_format"] == "openai"
    assert parser["model_config_kwargs"]["trust_remote_code"]


def test_ray_refuses_an_option_that_it_does_not_know():
    """Else the test above would prove little."""
    with pytest.raises(ValidationError, match="has_image"):
        vLLMEngineProcessorConfig(model_source="m", has_image=True)


def test_without_vllm_the_error_says_what_to_install(experiment, monkeypatch):
    monkeypatch.setattr(corpus, "start", lambda compute: None)
    monkeypatch.setattr(stage, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'qaclims_ray\[vllm\]'"):
        corpus.run(experiment)


def test_a_large_model_takes_the_pool_once_for_each_of_its_workers(experiment, asked):
    large = experiment.with_overrides({"corpus.engine.engine_kwargs": {"tensor_parallel_size": 8}})
    with pytest.raises(ValueError, match="6 CPUs are needed, the Ray cluster has 4"):
        corpus.run(large)
