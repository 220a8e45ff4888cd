"""Answers by vLLM through `ray.data.llm`, question by question; images come together afterwards.

Reads `images`; leaves the unfinished blocks of `corpus`.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from math import ceil, prod
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.llm import Processor, build_processor, vLLMEngineProcessorConfig

from qaclims_ray.cluster.maps import read_rows, require_pool, resuming, write_blocks
from qaclims_ray.config.compute import Compute, Pool
from qaclims_ray.config.corpus import Vllm
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.corpus.vllm_prompts import (
    ERROR,
    TEXT,
    answered,
    collate,
    image_of,
    list_questions,
    prompt,
)
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import Work, Written, work_schema
from qaclims_ray.run.images import class_names
from qaclims_ray.run.progress import watch

_FORMATS = {"parts": "openai", "text": "string"}
"""Ray's words for `content`."""
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")
_RETURNED = ("name", "label", "kind", "question", TEXT, ERROR)


class Recorder:
    """Ray Data actor: rows of the processor in, corpus rows of one answer out."""

    def __init__(self, max_errors: int) -> None:
        self._max_errors = max_errors
        self._failed: set[str] = set()

    def __call__(self, prompted: pa.Table) -> pa.Table:
        """Record a batch of answers.

        Raises:
            ValueError: questions about more than `max_errors` images have failed.
        """
        # Failed rows keep all that the processor knew of them, and may lack an answer.
        columns = [name for name in _RETURNED if name in prompted.column_names]
        rows = [answered(row) for row in prompted.select(columns).to_pylist()]
        self._failed |= {image_of(row["name"]) for row in rows if row["error"] is not None}
        if len(self._failed) > self._max_errors:
            last = next(row for row in reversed(rows) if row["error"] is not None)
            raise ValueError(
                f"more than data.max_errors = {self._max_errors} images failed; the last question: "
                f"{last['name']}: {last['error']}\nMend the input, or raise data.max_errors."
            )
        return pa.Table.from_pylist(rows, schema=work_schema("corpus"))


def ask_prompts(experiment: Experiment, images: Artifact, target: Artifact) -> None:
    """Ask all questions about all images, going on where an earlier run stopped.

    Nothing is started, and no model loaded, where no answer is missing. Ray restarts a vLLM that
    dies, and asks it the same questions again, as often as it takes.

    Raises:
        ValueError: vLLM is not installed, the cluster is too small, or too many images failed.
    """
    _check_installed()
    corpus = experiment.corpus
    # A corpus with one row for each question, which has blocks and a checkpoint of its own.
    asked = Artifact("corpus", f"{target.work}/asked", {})
    listed = list_questions(
        images, class_names(images), corpus.questions, f"{target.work}/questions"
    )
    total = sum(listed.values())
    if Work(asked).resume() < total:
        _map(experiment, list(listed), asked, total, ceil(total / images.require()["rows"]))
    collate(images, list(listed), asked, target)


def _map(
    experiment: Experiment, listed: Sequence[str], asked: Artifact, total: int, per_image: int
) -> None:
    engine, pool, data = experiment.corpus.engine, experiment.compute.corpus, experiment.data
    assert isinstance(engine, Vllm)
    _check_fits(engine, pool)
    written = Written(asked)
    bar = watch("corpus", written, total, unit="question", detail=written.detail)
    with resuming(asked, "name"), bar:
        rows = read_rows(listed).repartition(target_num_rows_per_block=pool.block_rows)
        rows = build(engine, pool, data.max_pixels)(rows)
        rows = rows.map_batches(
            Recorder,
            fn_constructor_kwargs={"max_errors": data.max_errors},
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0,
            batch_format="pyarrow",
        )
        # Answers are small: they are written in blocks of as many images as the section says.
        rows = rows.repartition(target_num_rows_per_block=pool.block_rows * per_image)
        write_blocks(rows, Work(asked).rows)
    Work(asked).tidy()


def build(engine: Vllm, pool: Pool, max_pixels: int) -> Processor:
    """Ray Data's processor: rows of questions in, `_RETURNED` out."""
    log = logging.getLogger("ray")
    level = log.level
    built = build_processor(
        _config(engine, pool),
        preprocess=partial(prompt, engine=engine, max_pixels=max_pixels),
        postprocess=_returned,
    )
    log.setLevel(level)  # which it changes
    return built


def _returned(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _RETURNED}


def _config(engine: Vllm, pool: Pool) -> vLLMEngineProcessorConfig:
    """One vLLM for each actor of the pool; beside it two light actors that hold no CPU."""
    actors = (pool.num_actors, pool.max_actors or pool.num_actors)
    trusts = engine.engine_kwargs.get("trust_remote_code", False)
    return vLLMEngineProcessorConfig(
        model_source=resolve(engine.model),
        engine_kwargs={
            "dtype": engine.precision,
            "enable_prefix_caching": True,
            "limit_mm_per_prompt": {"image": 1},
            **engine.engine_kwargs,
        },
        batch_size=pool.batch_size,
        concurrency=actors,
        placement_group_config={"bundle_per_worker": {"CPU": pool.num_cpus, "GPU": pool.num_gpus}},
        prepare_multimodal_stage={
            "enabled": True,
            "num_cpus": 0,
            "model_config_kwargs": {"trust_remote_code": trusts},
            "chat_template_content_format": _FORMATS[engine.content],
        },
        chat_template_stage={"enabled": True, "num_cpus": 0},
        # vLLM does both itself.
        tokenize_stage=False,
        detokenize_stage=False,
        should_continue_on_error=True,
        log_engine_metrics=False,
    )


def _check_fits(engine: Vllm, pool: Pool) -> None:
    """A large model's actor takes the resources of the pool once for each of its workers."""
    workers = prod(engine.engine_kwargs.get(key, 1) for key in _PARALLEL)
    taken = {"num_cpus": pool.num_cpus * workers, "num_gpus": pool.num_gpus * workers}
    require_pool(Compute(corpus=pool.model_copy(update=taken)), "corpus")


def _check_installed() -> None:
    if find_spec("vllm") is None:
        raise ValueError(
            "corpus.engine.kind: vllm needs the package vllm: pip install 'qaclims_ray[vllm]', or "
            "choose kind: server for a vLLM that runs elsewhere, or kind: chat for transformers"
        )
