"""Whether CLIP tells the regions of each class by its texts (`qaclims check-texts`), as a page."""

from markupsafe import Markup

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.preflight.text_findings import advice, found
from qaclims_ray.report.render import render


def texts_summary(experiment: Experiment) -> Markup:
    """Show what `qaclims check-texts` found; nothing where it has not run."""
    checked = found(experiment)
    if checked is None:
        return Markup()
    classes = checked["classes"]
    return render("texts.html", images=checked["images"], classes=classes, advice=advice(classes))
