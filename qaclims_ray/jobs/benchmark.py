"""Measure this machine: the published way beside ours, and hours for VOC 2012 and COCO 2014.

qaclims benchmark --out benchmark.json
qaclims benchmark --quick
ray job submit --entrypoint-num-gpus 1 --working-dir . -- python jobs/benchmark.py --gpus 8

Question answering, all trainings, CAMs, seeds, the random walk and prediction, with random weights
of the real sizes: nothing is downloaded, no data are needed. Minutes; 8 GB of memory on a CPU.
"""

from qaclims_ray.cli import job_parser, say


def main() -> None:
    """Run the job."""
    parser = job_parser(__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the GPU if any")
    parser.add_argument("--quick", action="store_true", help="tiny networks: seconds, no figures")
    parser.add_argument("--gpus", type=int, default=1, help="devices that the hours are for")
    parser.add_argument("--out", metavar="FILE.json", help="all figures, each repetition's too")
    arguments = parser.parse_args()
    from qaclims_ray.benchmark.suite import benchmark

    say(benchmark(**vars(arguments)))
