import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_STEP_UNSPECIFIED: _ClassVar[AuditStep]
    AUDIT_STEP_DONE: _ClassVar[AuditStep]
    AUDIT_STEP_BEGAN: _ClassVar[AuditStep]
    AUDIT_STEP_ENDED: _ClassVar[AuditStep]
    AUDIT_STEP_REFUSED: _ClassVar[AuditStep]
    AUDIT_STEP_LEFT_OUT: _ClassVar[AuditStep]

class AuditEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_EFFECT_UNSPECIFIED: _ClassVar[AuditEffect]
    AUDIT_EFFECT_WENT_ALONG: _ClassVar[AuditEffect]
    AUDIT_EFFECT_KEPT: _ClassVar[AuditEffect]
AUDIT_STEP_UNSPECIFIED: AuditStep
AUDIT_STEP_DONE: AuditStep
AUDIT_STEP_BEGAN: AuditStep
AUDIT_STEP_ENDED: AuditStep
AUDIT_STEP_REFUSED: AuditStep
AUDIT_STEP_LEFT_OUT: AuditStep
AUDIT_EFFECT_UNSPECIFIED: AuditEffect
AUDIT_EFFECT_WENT_ALONG: AuditEffect
AUDIT_EFFECT_KEPT: AuditEffect

class AuditObject(_message.Message):
    __slots__ = ("kind", "id", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class AuditRecord(_message.Message):
    __slots__ = ("id", "time", "step", "principal", "token_id", "peer", "method", "object", "code", "reason", "trace_id", "request_id", "call_id", "left_out", "effect", "cause")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    id: int
    time: _timestamp_pb2.Timestamp
    step: AuditStep
    principal: str
    token_id: str
    peer: str
    method: str
    object: AuditObject
    code: str
    reason: str
    trace_id: str
    request_id: str
    call_id: str
    left_out: int
    effect: AuditEffect
    cause: AuditObject
    def __init__(self, id: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., step: _Optional[_Union[AuditStep, str]] = ..., principal: _Optional[str] = ..., token_id: _Optional[str] = ..., peer: _Optional[str] = ..., method: _Optional[str] = ..., object: _Optional[_Union[AuditObject, _Mapping[str, _Any]]] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., trace_id: _Optional[str] = ..., request_id: _Optional[str] = ..., call_id: _Optional[str] = ..., left_out: _Optional[int] = ..., effect: _Optional[_Union[AuditEffect, str]] = ..., cause: _Optional[_Union[AuditObject, _Mapping[str, _Any]]] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "principal", "method", "object", "start_time", "end_time", "after_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    principal: str
    method: str
    object: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    after_id: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., principal: _Optional[str] = ..., method: _Optional[str] = ..., object: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., after_id: _Optional[int] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[AuditRecord, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAuditRequest(_message.Message):
    __slots__ = ("principal", "method", "object", "after_id")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    principal: str
    method: str
    object: str
    after_id: int
    def __init__(self, principal: _Optional[str] = ..., method: _Optional[str] = ..., object: _Optional[str] = ..., after_id: _Optional[int] = ...) -> None: ...

class WatchAuditResponse(_message.Message):
    __slots__ = ("records", "up_to_id")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    UP_TO_ID_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    up_to_id: int
    def __init__(self, records: _Optional[_Iterable[_Union[AuditRecord, _Mapping[str, _Any]]]] = ..., up_to_id: _Optional[int] = ...) -> None: ...
