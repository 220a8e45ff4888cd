"""What makes the CAMs of image rows: a trained network, or a frozen CLIP with the image's texts."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from qaclims_ray.cams.texts import CamTexts, choose_texts, fixed_words
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.model.texts import TextFeatures, foreground_features
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import ARTIFACTS, inputs_of, is_needed
from qaclims_ray.run.images import KNOWN, class_names
from qaclims_ray.run.manifest import Facts
from qaclims_ray.run.tables import NameIndex, dataset, read_table
from qaclims_ray.types import CamRow, ImageRow, TextPair

Predict = Callable[[Sequence[ImageRow]], list[CamRow]]
"""Rows of `images` to the CAMs of the classes that their labels name."""

_BATCH = 1024
"""Images whose texts are in memory at a time."""


def by_clip(experiment: Experiment, cams: str) -> bool:
    """Return whether a frozen CLIP makes an artifact of CAMs."""
    return "cam_texts" in inputs_of(experiment, cams)


def load_predict(experiment: Experiment, cams: str) -> Predict:
    """Load what makes the CAMs of an artifact, on the GPU if this process sees one.

    Args:
        experiment: The run, whose inputs of these CAMs are complete.
        cams: `cams` or `baseline_cams`.

    Raises:
        ValueError: the CLIP has no plain vision transformer.
    """
    if by_clip(experiment, cams):
        return ClipPredict(experiment)
    predictor = load_predictor(experiment, cams)
    return partial(predictor.predict_rows, max_pixels=experiment.data.max_pixels)


def load_predictor(experiment: Experiment, cams: str) -> CamPredictor:
    """Load the trained network of an artifact of CAMs, which is complete."""
    network = ARTIFACTS[cams].of
    assert network is not None
    net = load_cam_net(
        f"{artifact(experiment, network).uri}/model.safetensors",
        experiment.model.backbone,
        len(class_names(artifact(experiment, "images"))),
    )
    max_images = experiment.compute.cams.batch_size
    return CamPredictor(net, **experiment.cams.fusion(), max_images=max_images)


def fallback_facts(experiment: Experiment, cams: str) -> Facts:
    """Count the images that fall back to the fixed background words; nothing for a network."""
    if not by_clip(experiment, cams):
        return Facts()
    choose = TextChooser(experiment)
    columns = ["name", "labels"]
    known = dataset(artifact(experiment, "images")).to_batches(
        columns=columns, filter=KNOWN, batch_size=_BATCH
    )
    texts = (one for batch in known for one in choose(batch.to_pylist()))
    return Facts(num_fallbacks=sum(one.falls_back for one in texts))


def with_fallbacks(experiment: Experiment, name: str, line: str) -> str:
    """Add the number of images that fell back to the fixed words to an artifact's summary line."""
    number = artifact(experiment, name).require()["facts"].get("num_fallbacks", 0)
    note = f" · {number:,} images without background answers, with the fixed words instead"
    return line + note if number else line


class TextChooser:
    """Looks up the texts of images and chooses those that their CAMs are made with."""

    def __init__(self, experiment: Experiment) -> None:
        """Read the class names of a run and, where answers count, look into its `pairs`."""
        names = class_names(artifact(experiment, "images"))
        used = is_needed(experiment, "pairs")
        self._pairs = NameIndex(artifact(experiment, "pairs")) if used else None
        self._choose = partial(
            choose_texts,
            class_names=names,
            cams=experiment.cams,
            fixed=fixed_words(experiment.cams, names),
            expected_names=experiment.corpus.expected_names,
        )

    def __call__(self, rows: Sequence[ImageRow]) -> list[CamTexts]:
        """Choose the texts of each image; one without known labels has no class."""
        names = [row["name"] for row in rows]
        pairs: dict[str, list[TextPair]] = {}
        if self._pairs is not None:
            found = self._pairs.look_up(names, ["name", "pairs"]).to_pylist()
            pairs = {row["name"]: row["pairs"] for row in found}
        return [self._choose(row["labels"] or [], pairs.get(row["name"], [])) for row in rows]


class TextTable:
    """Features of the texts of a run, on one device."""

    def __init__(self, texts: Artifact, device: str) -> None:
        """Read `texts` or `cam_texts`, which is complete."""
        self._uri = texts.uri
        table = read_table(texts)
        features = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self.features: Float[Tensor, "N D"] = torch.tensor(features, device=device).reshape(
            table.num_rows, -1
        )
        self._row_of = {text: row for row, text in enumerate(table["text"].to_pylist())}

    def embed(self, texts: CamTexts) -> TextFeatures:
        """Return the features of an image's texts; answers and name of a class are averaged."""
        classes = [
            foreground_features(self.features, self._rows([name]), self._rows(prompts)[None])
            for name, prompts in zip(texts.classes, texts.prompts, strict=True)
        ]
        return TextFeatures(torch.cat([self.features[:0], *classes]), self.of(texts.backgrounds))

    def of(self, texts: Sequence[str]) -> Float[Tensor, "L D"]:
        """Return the features of some texts.

        Raises:
            ValueError: one of them has none.
        """
        return self.features[self._rows(texts)]

    def _rows(self, texts: Sequence[str]) -> Int[Tensor, "L"]:
        missing = [text for text in texts if text not in self._row_of]
        if missing:
            raise ValueError(f"the text {missing[0]!r} has no feature: see {self._uri}/_errors")
        rows = [self._row_of[text] for text in texts]
        return torch.tensor(rows, dtype=torch.long, device=self.features.device)


class ClipPredict:
    """Makes the CAMs of image rows with a frozen CLIP and the texts of each image."""

    def __init__(self, experiment: Experiment) -> None:
        """Load the CLIP and the features of all texts."""
        from qaclims_ray.model.clip_files import load_clip  # networks need none of it
        from qaclims_ray.model.clip_predictor import ClipCamPredictor

        section = experiment.cams.clip
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._table = TextTable(artifact(experiment, "cam_texts"), device)
        self._choose = TextChooser(experiment)
        self._max_pixels = experiment.data.max_pixels
        self._predictor = ClipCamPredictor(
            load_clip(resolve(section.model), section.pretrained).to(device),
            scales=section.scales,
            flip=section.flip,
            affinity=section.affinity,
            num_maps=section.num_maps,
            box_threshold=section.box_threshold,
            resolution=experiment.cams.resolution,
            max_images=experiment.compute.cams.batch_size,
        )

    def __call__(self, rows: Sequence[ImageRow]) -> list[CamRow]:
        """Make the CAMs of a batch of images.

        Raises:
            ValueError: a text of one of them has no feature.
        """
        texts = [self._table.embed(one) for one in self._choose(rows)]
        return self._predictor.predict_rows(rows, texts, self._max_pixels)
