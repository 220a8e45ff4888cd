"""Compare runs: their configurations, scores on the same images with paired intervals, and pictures.

    qaclims compare --to compare.html runs/a runs/b runs/c
    qaclims compare --to compare.html s3://bucket/a s3://bucket/b

Differences are to the first run. Prints a table and writes one HTML page, by default compare.html
in the first run. Runs say themselves how they were made (config.yaml); they must have the same
classes, and images of other ground truth are left out. Needs no Ray.
"""

from qaclims_ray.cli import job_parser, say


def main() -> None:
    """Run the job."""
    parser = job_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder or URL of a run")
    parser.add_argument("--to", metavar="FILE", help="the page; default: RUN/compare.html")
    arguments = parser.parse_intermixed_args()
    from qaclims_ray.report import compare

    say(compare.run(arguments.runs, arguments.to))
