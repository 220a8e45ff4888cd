"""What all sections of an experiment share."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Precision = Literal["float32", "float16", "bfloat16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
_Number = TypeVar("_Number", int, float)


def _check_ascending(bounds: tuple[_Number, _Number]) -> tuple[_Number, _Number]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound of a range comes first")
    return bounds


Range = Annotated[tuple[_Number, _Number], AfterValidator(_check_ascending)]
"""Lower and upper bound, which may be equal."""


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
