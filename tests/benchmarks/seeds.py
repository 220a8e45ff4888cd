"""Seeds without refinement, by PAR and by the dense CRF: how good they are, and what they cost.

    python tests/benchmarks/seeds.py FOLDER CAMS.npz
    python tests/benchmarks/seeds.py FOLDER CAMS.npz --thresholds 0.1 0.3 --limit 20

FOLDER has the layout of `data.kind: folder` (images/, masks/, classes.txt, labels.csv); the npz
file holds the CAMs of each image, in [0, 1] and of any size, in the order of its labels. The CRF
refines each labelling on its own, so many thresholds take minutes.

CPU seconds of one thread are of the seeds at the default thresholds, all ways turn and turn about.
"""

import argparse
import csv
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from qaclims_ray.metrics.boundary import boundary_overlap
from qaclims_ray.metrics.confusion import Overlap, count, mean_iou
from qaclims_ray.model.crf import dense_crf
from qaclims_ray.refine.par import par_label_maps
from qaclims_ray.refine.seeds import label_cams, merge_labels

DEFAULT = (0.3, 0.1)
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
DECIDED = 0.8


def read(folder, file, limit):
    """Image, CAMs, class indices and truth of each image that has CAMs; number of classes."""
    names = (folder / "classes.txt").read_text().split("\n")
    classes = [name.strip() for name in names if name.strip()]
    labels = dict(row for row in csv.reader((folder / "labels.csv").open()) if row)
    arrays = np.load(file)
    images = []
    for name in arrays.files[:limit]:
        image = np.array(Image.open(folder / "images" / name).convert("RGB"))
        truth = np.array(Image.open((folder / "masks" / name).with_suffix(".png")))
        own = [classes.index(label.strip()) for label in labels[name].split(";")]
        images.append((image, arrays[name].astype(np.float32), own, truth))
    return images, len(classes)


def plain(image, cams, classes, thresholds, refine=lambda _image, labels, _num: labels):
    """Label maps of the CAMs at the size of the image."""
    full = F.interpolate(torch.from_numpy(cams)[None], image.shape[:2], mode="bilinear")[0].numpy()
    values = np.array([0, *(index + 1 for index in classes)], np.uint8)
    labels = [refine(image, label_cams(full, each), len(values)) for each in thresholds]
    return [values[each] for each in labels]


def crf(image, cams, classes, thresholds):
    """The same, each refined by the CRF with the published settings."""
    return plain(image, cams, classes, thresholds, dense_crf)


def par(image, cams, classes, thresholds, num_steps=10):
    """The same by PAR at half the size, all at once."""
    return par_label_maps(
        [image], [cams], [classes], thresholds, num_steps=num_steps, stride=2, device="cpu"
    )[0]


def par20(image, cams, classes, thresholds):
    """The same by PAR with 20 steps."""
    return par(image, cams, classes, thresholds, num_steps=20)


class Tally:
    """Counts of a way to make seeds, over all images."""

    def __init__(self, thresholds, num_classes):
        self.thresholds, self.num_classes, self.seconds = thresholds, num_classes, 0.0
        size = num_classes + 1
        self.pairs = list(combinations(range(len(thresholds)), 2))
        self.areas = np.zeros((len(thresholds), size, size), int)
        self.decided = np.zeros((len(self.pairs), size, size), int)
        self.bands = np.zeros((3, len(thresholds), size), int)

    def add(self, label_maps, truth):
        """Count label maps, one per threshold."""
        for rank, labels in enumerate(label_maps):
            self.areas[rank] += count(labels, truth, self.num_classes)
            own = np.setdiff1d(np.union1d(truth, labels), [255])
            parts = boundary_overlap(labels.astype(int), (labels > 0).astype(int), truth, 1, own)
            for total, part in zip(self.bands, parts, strict=True):
                total[rank, own] += part[0]
        for rank, (low, high) in enumerate(self.pairs):
            seeds = merge_labels(label_maps[high], label_maps[low])
            known = np.where(seeds == 255, 255, truth)
            self.decided[rank] += count(seeds, known, self.num_classes)

    def row(self):
        """Scores in per cent."""
        miou, bands = 100 * mean_iou(self.areas), 100 * mean_iou(Overlap(*self.bands))
        share = 100 * self.decided.sum((1, 2)) / self.areas[0].sum()
        decided = 100 * mean_iou(self.decided)
        best = int(miou.argmax())
        default = self.thresholds.index(DEFAULT[0])
        pair = self.pairs.index((self.thresholds.index(DEFAULT[1]), default))
        enough = np.where(share >= 100 * DECIDED, decided, 0)
        top = int(enough.argmax())
        low, high = (self.thresholds[rank] for rank in self.pairs[top])
        return (
            f"| {miou[default]:.1f} | {bands[default]:.1f} "
            f"| {miou[best]:.1f} ({self.thresholds[best]:.2f}) | {bands[best]:.1f} "
            f"| {decided[pair]:.1f} of {share[pair]:.0f} % "
            f"| {decided[top]:.1f} of {share[top]:.0f} % ({high:.2f} / {low:.2f}) "
        )


def main():
    """Print one row per way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("cams", type=Path)
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images, num_classes = read(args.folder, args.cams, args.limit)
    thresholds = sorted({*args.thresholds, *DEFAULT})
    ways = {"none": plain, "PAR": par, "PAR, 20 steps": par20, "CRF": crf}
    tallies = {name: Tally(thresholds, num_classes) for name in ways}
    for *image, truth in images:
        for name, way in ways.items():
            start = time.process_time()
            made = dict(zip(DEFAULT, way(*image, DEFAULT), strict=True))
            tallies[name].seconds += time.process_time() - start
            rest = [each for each in thresholds if each not in made]
            made |= zip(rest, way(*image, rest), strict=True) if rest else {}
            tallies[name].add([made[each] for each in thresholds], truth)
    high, low = DEFAULT
    print(f"{len(images)} images; per cent; thresholds {thresholds}")
    print(f"| seeds by | mIoU at {high} | boundary IoU | best mIoU (at) | boundary IoU |", end="")
    print(f" decided at {high} / {low} | best that decides {DECIDED:.0%} | CPU s an image |")
    print("|---" * 8 + "|")
    for name, tally in tallies.items():
        print(f"| {name} {tally.row()}| {tally.seconds / len(images):.3f} |")


if __name__ == "__main__":
    main()
