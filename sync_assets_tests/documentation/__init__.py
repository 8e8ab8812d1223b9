"""Tests of README and docs: what they say, and what they tell a reader to type."""

from __future__ import annotations
