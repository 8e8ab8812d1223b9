"""The base of everything that is read from YAML."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class StrictModel(BaseModel):
    """Strict: "4" is not 4, true is not 1, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def refuse(problem: str) -> PydanticCustomError:
    """The error a validator raises; `problem` ends the sentence "… is not allowed; "."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem})
