"""Errors say what, where and how to mend it, and carry no values."""

from __future__ import annotations

import inspect

import pytest

from sync_assets.engine import errors
from sync_assets.engine.postgres.connection import connect


def every(cls: type[errors.SyncError]) -> list[type[errors.SyncError]]:
    children = [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    return [cls, *(found for child in children for found in every(child))]


@pytest.mark.parametrize("cls", every(errors.SyncError))
def test_every_error_ends_with_its_remedy(cls: type[errors.SyncError]) -> None:
    error = cls("it broke", table="public.orders", phase="merge")
    assert str(error) == f"public.orders (merge): it broke. {inspect.cleandoc(cls.__doc__ or '')}"


@pytest.mark.parametrize("cls", every(errors.SyncError)[1:])
def test_every_error_is_either_transient_or_permanent(cls: type[errors.SyncError]) -> None:
    assert issubclass(cls, errors.TransientError) ^ issubclass(cls, errors.PermanentError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for cls in every(errors.SyncError):
        assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@part@localhost/db",
        "postgresql://u:s3cr3t/part@localhost/db",
        "postgresql://u:s3cr3t#part@localhost/db",
        "postgresql://u:s3cr3t?part@localhost/db",
        "host=localhost password='s3cr3t dbname=x",
        "s3cr3t",
        "mysql://u:s3cr3t@localhost/db",
    ],
)
def test_a_url_that_libpq_would_misread_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(errors.SyncError) as caught:
        connect(url, "source", "test")
    assert "s3cr3t" not in str(caught.value)
    assert "source" in str(caught.value)
