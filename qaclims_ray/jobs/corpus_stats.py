"""Count the answers of the corpus: tables, files in `<run>/corpus_stats`, one line per answer.

Reads `images` and `corpus`; needs no Ray.

    qaclims corpus-stats --config demo [--top 10] [--export answers.csv.gz|answers.parquet|folder/]
    ray job submit --working-dir . -- python jobs/corpus_stats.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --export /shared/answers.csv.gz

--export FOLDER/ writes a data set with a card, which `datasets.load_dataset` reads.
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    top = {"type": int, "default": 10, "help": "backgrounds and answers listed"}
    export = {
        "metavar": "FILE",
        "help": "path or URL: .jsonl or .csv, also .gz, or .parquet; a folder/ is for the Hugging Face Hub",
    }
    experiment, arguments = parse(__doc__, overwrites=False, top=top, export=export)
    from qaclims_ray.corpus.stats import survey

    say(survey.run(experiment, top=arguments.top, export_to=arguments.export))
