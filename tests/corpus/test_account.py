import pyarrow as pa
import pytest

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.account import account, num_templates

IMAGES = pa.table({"name": ["a", "b", "c"], "labels": [[0, 3], [1], None]})
FAILED = pa.chunked_array([["b"]])
NONE = pa.chunked_array([[]], pa.string())
OWN = Questions(foreground=("which {}?",), background=("where is the {}?", "what is by the {}?"))
FREE = Questions(about="image", background=("what is there?", "what else?"))


def test_each_pair_is_asked_every_template_and_each_image_those_without_a_class():
    assert num_templates(Questions()) == 16
    assert num_templates(OWN) == 3
    assert num_templates(Questions(background=("what is by the {}?",))) == 7
    assert num_templates(Questions(foreground=(), background=("what is by the {}?",))) == 1
    assert num_templates(FREE) == 2


@pytest.mark.parametrize(
    ("templates", "failed", "questions", "lost"),
    [(OWN, NONE, 9, 0), (OWN, FAILED, 9, 3), (FREE, NONE, 6, 0), (FREE, FAILED, 6, 2)],
)
def test_what_was_asked_is_answered_or_lost(templates, failed, questions, lost):
    books = account(IMAGES, failed, questions - lost, templates)
    assert books == {"questions": questions, "answers": questions - lost, "lost": lost}
    with pytest.raises(AssertionError, match="a fault of ours"):
        account(IMAGES, failed, questions - lost - 1, templates)
