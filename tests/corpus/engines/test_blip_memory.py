import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.corpus.engines import blip_memory
from qaclims_ray.corpus.engines.blip_memory import largest_budget, token_budget
from qaclims_ray.model import blip

GB = 10**9
BEAMS = {"num_beams": 3, "min_length": 1, "max_length": 4}


@given(
    each=st.integers(0, 10**6), squared=st.integers(0, 10**4), fixed=st.integers(0, GB),
    free=st.floats(1, 200 * GB),
)  # fmt: skip
def test_no_budget_that_is_tried_takes_more_than_there_is(each, squared, fixed, free):
    tried = []

    def peak(budget):
        tried.append(fixed + each * budget + squared * budget**2)
        return tried[-1]

    budget = largest_budget(peak, free)
    assert budget in [2**power for power in range(8, 17)]
    assert all(taken <= free for taken in tried[1:])  # the first one is the least there is
    assert fixed + each * budget + squared * budget**2 <= max(free, tried[0])


def test_more_memory_takes_more_questions():
    budgets = [
        largest_budget(lambda budget: 500_000 * budget, gb * GB) for gb in (0.0, 1.0, 10.0, 1e3)
    ]
    assert budgets == [256, 512, 8192, 65536]


def test_on_a_cpu_nothing_is_tried(tiny_blip):
    assert token_budget(tiny_blip(0), 0.25, **BEAMS) == 2048


def test_a_trial_fills_its_budget(tiny_blip):
    """Encoded is one sequence, and decoded are all its questions at once."""
    model, sizes = blip.prepare(tiny_blip(0)), []
    model.text_encoder.register_forward_pre_hook(
        lambda _, args, inputs: sizes.append(inputs["input_ids"].shape), with_kwargs=True
    )
    generate = model.text_decoder.generate

    def note(**inputs):
        sizes.append(inputs["encoder_hidden_states"].shape[:2])
        return generate(**inputs)

    model.text_decoder.generate = note
    blip_memory.fill(model, 64, **BEAMS)
    assert sizes == [(1, 64), (16, 4)]


@pytest.mark.gpu
def test_a_gpus_memory_is_measured(tiny_blip):
    model = blip.prepare(tiny_blip(0)).to("cuda")
    small, large = (blip_memory._peak_bytes(model, budget, **BEAMS) for budget in (256, 2048))
    assert 0 < small < large
    whole = torch.cuda.get_device_properties(0).total_memory
    assert blip_memory._FEWEST <= token_budget(model, 0.5, **BEAMS) <= blip_memory._MOST
    assert large < whole
