import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VmTraffic(_message.Message):
    __slots__ = ("sent_bytes", "sent_packets", "received_bytes", "received_packets", "refused_packets", "told_at")
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_PACKETS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_PACKETS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_PACKETS_FIELD_NUMBER: _ClassVar[int]
    TOLD_AT_FIELD_NUMBER: _ClassVar[int]
    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int
    refused_packets: int
    told_at: _timestamp_pb2.Timestamp
    def __init__(self, sent_bytes: _Optional[int] = ..., sent_packets: _Optional[int] = ..., received_bytes: _Optional[int] = ..., received_packets: _Optional[int] = ..., refused_packets: _Optional[int] = ..., told_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...
