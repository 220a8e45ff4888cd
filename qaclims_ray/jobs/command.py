"""The console command `qaclims`: every job as a sub-command."""

import difflib
import sys
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from qaclims_ray.cli import run_job, say
from qaclims_ray.config.shipped import shipped_configs


class Command(NamedTuple):
    """One sub-command."""

    name: str
    job: str
    """Its module beside this one, and its script in jobs/."""
    help: str


COMMANDS = (
    Command("run", "run_all", "all artifacts of a run, one after the other, and its report"),
    Command("ingest", "ingest", "images and labels as Parquet shards"),
    Command("corpus", "build_corpus", "ask the VQA model about every image and class"),
    Command("texts", "embed_texts", "texts of every image and class, and their CLIP features"),
    Command("train-classifier", "train_classifier", "train the classifier, the baseline"),
    Command("train-ritc", "train_ritc", "train the CAM network: region image-text contrast"),
    Command("cams", "make_cams", "class activation maps of every image"),
    Command("seeds", "make_seeds", "pixels that are surely object or surely background"),
    Command("train-irn", "train_irn", "train the boundary network on the seeds"),
    Command("masks", "make_masks", "pseudo masks: a label for every pixel"),
    Command("train-segmenter", "train_segmenter", "train the segmenter on the pseudo masks"),
    Command("predict", "predict", "label maps by the segmenter, of these or any other images"),
    Command("evaluate", "evaluate", "mIoU of CAMs or label maps"),
    Command("report", "report", "one HTML page of a run"),
    Command("compare", "compare", "runs side by side: configurations, scores, pictures"),
    Command("show", "show", "a contact sheet of images, labels, masks and CAMs"),
    Command("show-config", "show_config", "every key of a configuration, its value and meaning"),
    Command("check-texts", "check_texts", "whether CLIP knows the classes, on a few images"),
    Command("corpus-stats", "corpus_stats", "frequencies of the answers"),
    Command("status", "status", "what of a run is complete, stale, unfinished or missing"),
    Command("verify", "verify", "compare the files of a run with their digests"),
    Command("export-masks", "export_masks", "seeds, masks or predictions for label tools"),
    Command("export-segmenter", "export_segmenter", "the segmenter for its library, and as ONNX"),
    Command("import-published", "import_published", "published files into a run, and back out"),
    Command("tune", "tune", "search the configuration for the best CAMs"),
    Command("ablation", "ablation", "compare variants of a configuration over seeds"),
    Command("benchmark", "benchmark", "measure this machine"),
    Command("pretrain-demo", "pretrain_demo", "make the weights of the demo's tiny models"),
)


def main() -> None:
    """Run a sub-command, which reads the arguments after its name."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked in ("-h", "--help"):
        say(_help())
    elif asked == "--version":
        say(version("qaclims_ray"))
    else:
        found = {name: one for one in COMMANDS for name in (one.name, one.job)}
        if asked not in found:
            near = difflib.get_close_matches(asked, found, 1)
            hint = f"; did you mean {found[near[0]].name!r}?" if near else ""
            sys.stderr.write(f"qaclims: no command {asked!r}{hint} (qaclims --help lists them)\n")
            sys.exit(2)
        command = found[asked]
        sys.argv[:2] = [f"qaclims {command.name}"]  # what the job's parser calls the program
        run_job(import_module(f"qaclims_ray.jobs.{command.job}").main)


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name:{width}}  {command.help}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: qaclims COMMAND --config NAME|FILE [key=value ...]",
            "",
            "Weakly supervised semantic segmentation from image labels (QA-CLIMS) on Ray.",
            "",
            *lines,
            "",
            f"configurations by name: {', '.join(shipped_configs())}",
            "`qaclims COMMAND --help` says more.",
        ]
    )
