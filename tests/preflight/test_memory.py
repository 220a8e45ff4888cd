import pytest

from qaclims_ray.preflight.estimate import Counts
from qaclims_ray.preflight.memory import memory_needs, memory_problems, node_memory

PHONE = Counts(100, 100, 10**8, 3000, 4000, 20, 12_000_000)
GB = 10**9


@pytest.fixture
def experiment(make_experiment, tmp_path):
    options = {"model.backbone": "resnet50", "compute.cams.num_gpus": 1, "cams.scales": [1.0, 2.0]}
    return make_experiment(tmp_path, options)


def test_a_phones_photographs_do_not_fit_a_gpu_and_the_error_says_what_helps(experiment):
    needs = memory_needs(experiment, ["images", "baseline_cams", "cams", "predictions"], PHONE)
    assert [need.name for need in needs] == ["baseline_cams", "cams", "predictions"]
    problems = memory_problems(needs[:2], {"a": (64 * GB, 24 * GB), "b": (64 * GB, 0)})
    assert problems[1] == (
        "cams: the largest image has 48.0 megapixels at the greatest scale, for which the network "
        "needs about 41 GB; 1 of a GPU has 24 GB: set data.max_side, such as 1024, or lower "
        "cams.scales"
    )
    assert memory_problems(needs, {"a": (64 * GB, 80 * GB)}) == []


def test_half_a_gpu_has_half_its_memory(experiment):
    half = experiment.with_overrides({"compute.cams.num_gpus": 0.5})
    needs = memory_needs(half, ["cams"], PHONE)
    assert "0.5 of a GPU has 40 GB" in memory_problems(needs, {"a": (GB, 80 * GB)})[0]


def test_without_gpus_the_memory_of_the_node_counts_and_an_unknown_gpu_is_no_problem(experiment):
    on_cpu = experiment.with_overrides({"compute.cams.num_gpus": 0})
    needs = memory_needs(on_cpu, ["cams"], PHONE)
    assert "a node has 16 GB" in memory_problems(needs, {"a": (16 * GB, 0)})[0]
    assert memory_problems(memory_needs(experiment, ["cams"], PHONE), {"a": (GB, 0)}) == []


@pytest.mark.parametrize("stream", [False, True])
def test_cams_that_are_only_scored_need_memory_too(experiment, stream):
    streamed = experiment.with_overrides({"evaluate.stream": stream})
    names = [need.name for need in memory_needs(streamed, ["scores"], PHONE)]
    assert names == (["cams"] if stream else [])


def test_a_clips_attention_grows_with_the_square_of_the_patches(experiment):
    by_clip = experiment.with_overrides({"cams.kind": "clip"})
    (need,) = memory_needs(by_clip, ["cams"], PHONE)
    assert need.num_bytes == pytest.approx(4 * 12 * (12e6 / 256) ** 2)


def test_windows_bound_what_a_segmenter_sees(experiment):
    (need,) = memory_needs(experiment, ["predictions"], PHONE)
    windows = experiment.with_overrides({"segment.window": 500, "segment.overlap": 100})
    (bounded,) = memory_needs(windows, ["predictions"], PHONE)
    assert need.megapixels == 12
    assert bounded.megapixels == 0.25


def test_before_ingest_nothing_is_known(experiment):
    assert memory_needs(experiment, ["cams"], PHONE._replace(pixels=0)) == []


def test_this_machine_has_memory():
    assert node_memory()[0] > GB / 4
