from qaclims_ray.report.texts import texts_summary
from qaclims_ray.storage.files import write_json


def test_figures_and_advice_are_shown(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    assert not texts_summary(experiment)
    cat = {"name": "cat", "images": 3, "known": 0.95, "told": 0.75, "apart": 0.5}
    lesion = {"name": "<lesion>", "images": 2, "known": 0.5, "told": None, "apart": None}
    found = {"images": 5, "classes": [cat, lesion]}
    write_json(f"{tmp_path}/check_texts/check_texts.json", found)
    html = texts_summary(experiment)
    assert "CLIP does not know &lt;lesion&gt; by name" in html
    for cell in ("cat", "3", "95.0%", "75.0%", "0.50", "50.0%", "n/a"):
        assert f">{cell}</td>" in html
