"""The messages and enums of the public API (proto/banger/v1)."""

from ._gen.v1 import *  # noqa: F403
