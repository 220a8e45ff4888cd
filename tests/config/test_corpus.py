"""The section `corpus`: its defaults, and values that are refused."""

from typing import Any

import pytest

from qaclims_ray.config.corpus import Corpus, Questions, Texts
from qaclims_ray.model.clip import PROMPT


def test_each_pair_is_asked_every_template_and_each_image_those_without_a_class():
    own = Questions(foreground=("which {}?",), background=("where is {}?", "what is by the {}?"))
    assert Questions().num_templates == 16
    assert own.num_templates == 3
    assert Questions(background=("what is by the {}?",)).num_templates == 7
    assert Questions(foreground=(), background=("what is by the {}?",)).num_templates == 1
    assert Questions(about="image", background=("what is there?", "what?")).num_templates == 2


def test_null_means_the_papers_templates_of_its_kind_and_an_empty_list_none():
    paper = Questions().templates
    assert {kind: len(templates) for kind, templates in paper.items()} == {"fg": 6, "bg": 10}
    assert Questions(foreground=()).templates == {"fg": (), "bg": paper["bg"]}
    assert Questions(background=("where?",)).templates == {"fg": paper["fg"], "bg": ("where?",)}
    about_image = Questions(about="image", background=("where is it?",))
    assert about_image.templates == {"fg": (), "bg": ("where is it?",)}


def test_the_paper_is_not_written_into_a_configuration_that_leaves_it_out():
    """Else each change of a default would make the recipes of all runs others."""
    assert Questions().model_dump() == {"about": "class", "foreground": None, "background": None}


def test_runs_and_the_library_fill_texts_into_the_same_prompt():
    assert Texts().template == PROMPT


def test_to_ask_nothing_is_an_error():
    with pytest.raises(ValueError, match="both empty, so nothing would be asked: leave one"):
        Questions(foreground=(), background=())


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({}, "needs templates in foreground or background"),
        ({"foreground": [], "background": []}, "needs templates in foreground or background"),
        ({"background": ["what is under the {}?"]}, r"'what is under the \{\}\?' has \{\}"),
    ],
)
def test_templates_about_the_image_name_no_class(templates, message):
    with pytest.raises(ValueError, match=message):
        Questions(about="image", **templates)


def _engine(section: dict[str, Any]):
    return Corpus.model_validate({"engine": section}).engine


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"url": "localhost:8000"}, "url"),
        ({"url": "http://me:secret@host/v1"}, "url"),
        ({"url": "http://host/v1", "key_variable": "sk-1234"}, "key_variable"),
        ({"url": "http://host/v1", "num_connections": 0}, "num_connections"),
    ],
)
def test_a_server_that_makes_no_sense_is_refused(section, message):
    with pytest.raises(ValueError, match=message):
        _engine({"kind": "server", "model": "m", **section})


def test_unknown_engine_names_the_legal_kinds():
    with pytest.raises(ValueError, match="'blip', 'chat', 'server', 'vllm', 'table', 'replay'"):
        _engine({"kind": "oracle"})
