import torch

from qaclims_ray.model.texts import (
    PairTexts,
    background_features,
    foreground_features,
    pair_features,
)

BANK = torch.eye(4)


def test_foreground_is_half_the_name_and_half_the_mean_of_prompts():
    mixed = foreground_features(BANK, torch.tensor([0]), torch.tensor([[1, 1, 2, -1]]))
    torch.testing.assert_close(mixed, torch.tensor([[0.5, 1 / 3, 1 / 6, 0]]))


def test_a_pair_without_prompts_has_the_feature_of_its_name():
    prompts = torch.tensor([[-1, -1], [2, -1]])
    mixed = foreground_features(BANK, torch.tensor([3, 0]), prompts)
    assert torch.equal(mixed, torch.tensor([[0, 0, 0, 1.0], [0.5, 0, 0.5, 0]]))
    assert torch.equal(foreground_features(BANK, torch.tensor([3]), prompts[:1, :0]), BANK[3:])


def test_background_rows_are_gathered_and_padding_is_marked():
    features, present = background_features(BANK, torch.tensor([[2, -1], [-1, -1], [0, 3]]))
    assert present.tolist() == [[True, False], [False, False], [True, True]]
    assert torch.equal(features[0], torch.stack([BANK[2], torch.zeros(4)]))
    assert torch.equal(features[2], BANK[[0, 3]])


def test_no_pairs_give_empty_features():
    none = torch.zeros(0, 3, dtype=torch.long)
    features = pair_features(BANK, PairTexts(none[:, 0], none, none))
    assert [tuple(part.shape) for part in features] == [(0, 4), (0, 3, 4), (0, 3)]
