"""Fill the page's templates; what they are given is escaped, unless a template made it."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Environment(
    loader=PackageLoader("qaclims_ray.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> Markup:
    """Fill the template of that file name in `templates/` with values."""
    return Markup(_TEMPLATES.get_template(template).render(**values))


def percent(share: float | None, unit: str = "%") -> str:
    """Write a share in [0, 1] in percent, and "n/a" where there is none."""
    return "n/a" if share is None else f"{100 * share:.1f}{unit}"


_TEMPLATES.filters["percent"] = percent
