"""Export the corpus as a folder of Hugging Face `datasets`, with a card.

<folder>/README.md                          the card: what is in it, and how it was made
<folder>/data/train-00000-of-00001.parquet  one row per answer

`datasets.load_dataset(folder)` reads it as it is, and so does the Hub once it is uploaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from qaclims_ray.corpus.stats.export import export
from qaclims_ray.storage.files import write_bytes

FILE = "data/train-00000-of-00001.parquet"
_SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
_LARGEST = "1M<n<10M"
_COLUMNS = {
    "name": "name of the image in the data set",
    "class": "class that the question is about; `(image)`: none",
    "kind": "`fg`: what the object is; `bg`: what is around it",
    "question": "as it was asked",
    "answer": "as the model wrote it",
    "lemma": "the answer, lemmatised as a noun",
}


def export_folder(
    batches: Iterable[pa.RecordBatch],
    class_names: Sequence[str],
    folder: str,
    *,
    name: str,
    made_by: Mapping[str, Any],
) -> int:
    """Write the folder, the card last; return the number of answers.

    Args:
        batches: Rows of the artifact `corpus`.
        class_names: Names in the order of their indices.
        folder: Path or URL; files of the same names are replaced.
        name: What the set is called.
        made_by: How the answers were made, for the card.
    """
    num_answers = export(batches, class_names, f"{folder}/{FILE}")
    written = card(name, num_answers, class_names, made_by)
    write_bytes(f"{folder}/README.md", written.encode())
    return num_answers


def card(
    name: str, num_answers: int, class_names: Sequence[str], made_by: Mapping[str, Any]
) -> str:
    """Write the card: metadata that the Hub reads, then text for people."""
    size = next((size for most, size in _SIZES.items() if num_answers < most), _LARGEST)
    front = {
        "pretty_name": f"Answers about the images of {name}",
        "task_categories": ["visual-question-answering"],
        "language": ["en"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    }
    columns = "\n".join(f"| `{column}` | {meaning} |" for column, meaning in _COLUMNS.items())
    return (
        f"---\n{_yaml(front)}---\n\n# {front['pretty_name']}\n\n"
        f"{num_answers:,} answers of a vision-language model to questions about images: what is in "
        "front, and what is around it. Made by qaclims_ray, after QA-CLIMS "
        "([Deng et al., 2023](https://arxiv.org/abs/2401.09883)). The answers are the model's, and "
        "nobody has checked them. The images are not part of it; the model and the images have "
        "licences of their own.\n\n"
        f"| column | meaning |\n|---|---|\n{columns}\n\nClasses: {', '.join(class_names)}.\n\n"
        f"How it was made:\n\n```yaml\n{_yaml(dict(made_by))}```\n"
    )


def _yaml(plain: dict[str, Any]) -> str:
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
