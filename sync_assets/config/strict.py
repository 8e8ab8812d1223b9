"""The base of everything that is read from YAML."""

from __future__ import annotations

import enum
import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class StrictModel(BaseModel):
    """Strict: "4" is not 4, true is not 1, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the keys they are written with."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


Choice = TypeVar("Choice", bound=enum.Enum)
Word = Annotated[Choice, Strict(strict=False)]
"""One of a few words, which stands in YAML as text."""

EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Z|a-z]{2,7}"
"""What Dagster, and we, take for an e-mail address."""


def written(pattern: str, problem: str) -> AfterValidator:
    """Text of this pattern; `problem` says how it is written."""

    def fitting(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise refuse(problem)
        return text

    return AfterValidator(fitting)


def refuse(problem: str) -> PydanticCustomError:
    """The error a validator raises; `problem` ends the sentence "… is not allowed; "."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem})
