"""What each step costs a row, and how the process that asks for it grows, at more and more rows.

    python tests/benchmarks/growth.py [--rows 1000,10000,100000] [--steps publish,pairs] [FOLDER]

Tiny rows: an image of 100 bytes without a picture, four answers. Each step runs in a process of its
own: seconds of CPU are those of this process and of all that Ray started below it; growth is the
most memory that the process itself held above what it held when the step began. `start` is a
process that starts Ray and does nothing, which all large steps contain.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qaclims_ray.cluster.maps import publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.corpus import Questions
from qaclims_ray.config.experiment import Experiment, load
from qaclims_ray.corpus import stage as corpus
from qaclims_ray.corpus.ask import count_questions
from qaclims_ray.corpus.jsonl import import_answers
from qaclims_ray.corpus.stats.counts import count_answers
from qaclims_ray.corpus.stats.replies import count_replies
from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.ingest.coco14 import read_coco
from qaclims_ray.ingest.facts import COLUMNS, count_facts
from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.listed import ListedSources
from qaclims_ray.ingest.sources import Listing
from qaclims_ray.ingest.voc12 import read_voc
from qaclims_ray.ingest.webdataset import read_webdataset
from qaclims_ray.report.corpus import corpus_summary
from qaclims_ray.report.export import LabelMaps, write_coco
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.run.blocks import PendingBlocks
from qaclims_ray.run.file_names import write_file_names
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.images import check_sorted, identity_without_masks
from qaclims_ray.run.lineage import identities
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.scored import scored_images
from qaclims_ray.run.tables import batches_of, names_of
from qaclims_ray.search.holdout import limited, write_names
from qaclims_ray.storage.parquet import write_parquet
from qaclims_ray.train.validation import rows_to_score

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
CLASSES = ("car", "cat", "dog")
BLOCK, SHARD, ROW_GROUP = 64, 8192, 64
"""Rows of an unfinished block, of a shard and of its row groups."""
_QUESTIONS = (
    ("fg", "what is it?"),
    ("fg", "what kind?"),
    ("bg", "what is under?"),
    ("bg", "behind?"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


def experiment_in(folder: str) -> Experiment:
    """The demo, as far as rows are concerned."""
    return load(CONFIG, {"run": folder, "data.shard_megabytes": 4, "compute.num_cpus": 2})


def image_rows(numbers: range) -> list[dict]:
    return [
        {
            "name": f"photo_{number:09d}",
            "image": b"%09d" % number * 11,
            "height": 10,
            "width": 20,
            "labels": [number % 3],
            "mask": b"mask" if number % 2 else None,
        }
        for number in numbers
    ]


def corpus_rows(numbers: range) -> list[dict]:
    return [
        {
            "name": f"photo_{number:09d}",
            "answers": [
                {
                    "label": number % 3,
                    "kind": kind,
                    "question": question,
                    "answer": f"things {number * place % 997}",
                    "lemma": f"thing {number * place % 997}",
                }
                for place, (kind, question) in enumerate(_QUESTIONS)
            ],
            "unanswered": None,
        }
        for number in numbers
    ]


def write_complete(
    experiment: Experiment, name: str, num_rows: int, rows: Callable[[range], list[dict]]
) -> None:
    """Write a complete artifact."""
    target = own_artifact(experiment, name)
    for number, numbers in enumerate(_runs(num_rows, SHARD)):
        table = pa.Table.from_pylist(rows(numbers), schema_of(name))
        write_parquet(table, f"{target.uri}/part-{number:05d}.parquet", ROW_GROUP)
    facts = {
        "class_names": list(CLASSES),
        "masks": {"shown": dict.fromkeys(CLASSES, 1), "ignored": 0.0},
    }
    target.complete(Built(num_rows, 0, facts), 0.0, identities(experiment, name))


def write_blocks(experiment: Experiment, num_rows: int) -> None:
    """Write the corpus as unfinished blocks."""
    work = PendingBlocks(own_artifact(experiment, "corpus"))
    for number, numbers in enumerate(_runs(num_rows, BLOCK)):
        table = pa.Table.from_pylist(corpus_rows(numbers), schema_of("corpus"))
        table = table.append_column("error", pa.nulls(len(table), pa.string()))
        path = Path(work.rows) / f"{number:07d}-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)


def _runs(num_rows: int, step: int) -> Iterator[range]:
    for first in range(0, num_rows, step):
        yield range(first, min(first + step, num_rows))


def _complete_both(experiment: Experiment, num_rows: int) -> None:
    write_complete(experiment, "images", num_rows, image_rows)
    write_complete(experiment, "corpus", num_rows, corpus_rows)


def _images(experiment: Experiment, num_rows: int) -> None:
    write_complete(experiment, "images", num_rows, image_rows)


def _nothing(experiment: Experiment, num_rows: int) -> None:
    pass


def _publish(experiment: Experiment, num_rows: int) -> None:
    start(experiment.compute)
    publish_all(experiment, own_artifact(experiment, "corpus"), num_rows)


def _pairs(experiment: Experiment, num_rows: int) -> None:
    corpus.run(experiment, "pairs")


def _scored(experiment: Experiment, num_rows: int) -> None:
    """What scores check before they start."""
    scored = scored_images(experiment)
    check_sorted(scored.names(), names_of(scored.images), "lacks", "mend")


def _count_questions(experiment: Experiment, num_rows: int) -> None:
    answered, images = (own_artifact(experiment, name) for name in ("corpus", "images"))
    replies = count_replies(batches_of(answered, ["answers", "unanswered"]))
    failed = pa.chunked_array([[]], pa.string())
    questions = Questions(foreground=("a {}", "b {}"), background=("c {}", "d {}"))
    rows = batches_of(images, ["name", "labels"])
    count_questions(rows, failed, replies, questions)


def _count_facts(experiment: Experiment, num_rows: int) -> None:
    images = own_artifact(experiment, "images")
    count_facts(batches_of(images, COLUMNS), Listing([], [], CLASSES))
    identity_without_masks(images, CLASSES)


def _report(experiment: Experiment, num_rows: int) -> None:
    batches = batches_of(own_artifact(experiment, "corpus"), ["answers"])
    section = experiment.corpus
    corpus_summary(count_answers(batches, CLASSES, section.questions), CLASSES, {})


def _tar(experiment: Experiment, num_rows: int) -> None:
    with tarfile.open(f"{experiment.run}.tar", "w") as tar:
        for number in range(num_rows):
            for name, content in (("jpg", b"%09d" % number * 11), ("cls", b"0")):
                member = tarfile.TarInfo(f"photo_{number:09d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _listing(experiment: Experiment, num_rows: int) -> None:
    _write_listing(experiment, read_webdataset([f"{experiment.run}.tar"], class_names=CLASSES))


def _draw(experiment: Experiment, num_rows: int) -> None:
    rows_to_score(experiment, experiment.train.ritc)


def _split(experiment: Experiment, num_rows: int) -> None:
    limited(write_names(experiment, experiment.run), 500, 0)


def _label_maps(experiment: Experiment, num_rows: int) -> None:
    write_complete(experiment, "images", num_rows, image_rows)
    label_map = label_map_row("", np.zeros((4, 4), np.uint8))
    write_complete(
        experiment,
        "masks",
        num_rows,
        lambda numbers: [{**label_map, "name": row["name"]} for row in image_rows(numbers)],
    )
    files = {f"photo_{number:09d}": f"/d/{number}.jpg" for number in range(num_rows)}
    write_file_names(own_artifact(experiment, "images"), lambda: [files])


def _export(experiment: Experiment, num_rows: int) -> None:
    images, masks = (own_artifact(experiment, name) for name in ("images", "masks"))
    maps, to = LabelMaps(masks, None), f"{experiment.run}/masks.json"
    write_coco(maps, CLASSES, to, lambda _: None, images=images, suffix="")


def _answers(experiment: Experiment, num_rows: int) -> None:
    write_complete(experiment, "images", num_rows, image_rows)
    with Path(f"{experiment.run}.jsonl").open("w") as file:
        for number in range(num_rows):
            own = corpus_rows(range((number * 7919) % num_rows, (number * 7919) % num_rows + 1))[0]
            for one in own["answers"]:
                about = {"name": own["name"], "class": CLASSES[one["label"]]}
                file.write(json.dumps({**one, **about}) + "\n")


def _import_answers(experiment: Experiment, num_rows: int) -> None:
    import_answers(experiment, f"{experiment.run}.jsonl", overwrite=True)


def _folder(experiment: Experiment, num_rows: int) -> None:
    root = Path(f"{experiment.run}.folder")
    shutil.rmtree(root, ignore_errors=True)
    (root / "images").mkdir(parents=True)
    with (root / "labels.csv").open("w") as file:
        for number in range(num_rows):
            (root / "images" / f"photo_{number:09d}.jpg").touch()
            file.write(f"photo_{number:09d}.jpg,{CLASSES[number % 3]}\n")


def _list_folder(experiment: Experiment, num_rows: int) -> None:
    _write_listing(experiment, read_folder(f"{experiment.run}.folder", class_names=CLASSES))


def _coco(experiment: Experiment, num_rows: int) -> None:
    numbers = range(1, num_rows + 1)
    outline = [[1, 1, 9, 1, 9, 9, 1, 9]]
    content = {
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
        "images": [
            {"id": i, "file_name": f"photo_{i:09d}.jpg", "height": 10, "width": 20} for i in numbers
        ],
        "annotations": [
            {"image_id": i, "category_id": 1 + (i + j) % 3, "segmentation": outline, "iscrowd": 0}
            for i in numbers
            for j in range(3)
        ],
    }
    Path(f"{experiment.run}.json").write_text(json.dumps(content))


def _list_coco(experiment: Experiment, num_rows: int) -> None:
    file, root = f"{experiment.run}.json", f"{experiment.run}.none"
    _write_listing(experiment, read_coco(root, "train", annotations=file, images=root))


def _voc(experiment: Experiment, num_rows: int) -> None:
    lines = "".join(f"photo_{number:09d}\n" for number in range(num_rows))
    Path(experiment.run).mkdir(parents=True)
    Path(f"{experiment.run}/test.txt").write_text(lines)


def _list_voc(experiment: Experiment, num_rows: int) -> None:
    _write_listing(experiment, read_voc(experiment.run, f"{experiment.run}/test.txt"))


def _write_listing(experiment: Experiment, listing: Listing) -> None:
    ListedSources(own_artifact(experiment, "images"), listing.sources)


def _start(experiment: Experiment, num_rows: int) -> None:
    start(experiment.compute)


Step = Callable[[Experiment, int], None]
STEPS: dict[str, tuple[Step, Step]] = {
    "start": (_nothing, _start),
    "publish": (write_blocks, _publish),
    "pairs": (_complete_both, _pairs),
    "questions": (_complete_both, _count_questions),
    "facts": (_images, _count_facts),
    "scored": (_images, _scored),
    "report": (_complete_both, _report),
    "draw": (_images, _draw),
    "split": (_images, _split),
    "export": (_label_maps, _export),
    "answers": (_answers, _import_answers),
    "tar": (_tar, _listing),
    "folder": (_folder, _list_folder),
    "coco": (_coco, _list_coco),
    "voc": (_voc, _list_voc),
}
"""What makes a step's input, and the step."""


def _memory(key: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM`, the most."""
    status = Path("/proc/self/status").read_text().split(f"{key}:")[1]
    return int(status.split()[0]) * 1024


def cpu_seconds() -> float:
    """Of this process and of all below it that live."""
    parents, seconds = dict[int, int](), dict[int, float]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        seconds[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(seconds.get(pid, 0.0) for pid in below)


def measure(step: str, num_rows: int, folder: str) -> dict[str, float]:
    """Carry out a step in this process."""
    experiment = experiment_in(folder)
    Path("/proc/self/clear_refs").write_text("5")
    before, cpu, begun = _memory("VmRSS"), cpu_seconds(), time.monotonic()
    STEPS[step][1](experiment, num_rows)
    return {
        "grown": _memory("VmHWM") - before,
        "cpu": cpu_seconds() - cpu,
        "seconds": time.monotonic() - begun,
    }


def _in_a_process(what: str, step: str, num_rows: int, folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--do", what, "--rows", str(num_rows), "--steps", step]
    done = subprocess.run([*command, folder], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="1000,10000,100000")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--do", choices=("prepare", "measure"))
    parser.add_argument("folder", nargs="?", default=tempfile.gettempdir() + "/growth")
    given = parser.parse_args()
    sizes = [int(number) for number in given.rows.split(",")]
    if given.do == "prepare":
        STEPS[given.steps][0](experiment_in(given.folder), sizes[0])
        print("{}")
    elif given.do == "measure":
        print(json.dumps(measure(given.steps, sizes[0], given.folder)))
    else:
        print(
            "| step | rows | CPU µs a row | seconds | MB grown | bytes a row |\n"
            "|---|---|---|---|---|---|"
        )
        for step in given.steps.split(","):
            for num_rows in sizes:
                shutil.rmtree(given.folder, ignore_errors=True)
                Path(given.folder).parent.mkdir(parents=True, exist_ok=True)
                _in_a_process("prepare", step, num_rows, given.folder)
                found = _in_a_process("measure", step, num_rows, given.folder)
                cpu, grown = 1e6 * found["cpu"] / num_rows, found["grown"]
                print(
                    f"| {step} | {num_rows:,} | {cpu:.0f} | {found['seconds']:.0f} "
                    f"| {grown / 1e6:.0f} | {grown / num_rows:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
