"""One call of the API: its names and its messages."""

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)

_READS = re.compile(r"(Get|List|Explain|Wait|Watch|Read|CopyFrom)")


@dataclass(frozen=True)
class Call:
    """A call, as errors speak of it."""

    name: str
    """As in the .proto files, such as "CreateVm"."""
    changes: bool
    """Whether it changes anything: then an answer that is lost leaves its outcome unknown."""


@dataclass(frozen=True)
class Method(Generic[Asked, Answered]):
    service: str
    name: str
    asked: type[Asked]
    answered: type[Answered]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def call(self) -> Call:
        return Call(self.name, changes=_READS.match(self.name) is None)

    @property
    def takes_request_id(self) -> bool:
        return "request_id" in self.asked.DESCRIPTOR.fields_by_name
