from . import host_pb2 as _host_pb2
from . import vm_pb2 as _vm_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_KIND_UNSPECIFIED: _ClassVar[WatchKind]
    WATCH_KIND_VM: _ClassVar[WatchKind]
    WATCH_KIND_HOST: _ClassVar[WatchKind]

class ChangeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_TYPE_UNSPECIFIED: _ClassVar[ChangeType]
    CHANGE_TYPE_ADDED: _ClassVar[ChangeType]
    CHANGE_TYPE_MODIFIED: _ClassVar[ChangeType]
    CHANGE_TYPE_REMOVED: _ClassVar[ChangeType]
WATCH_KIND_UNSPECIFIED: WatchKind
WATCH_KIND_VM: WatchKind
WATCH_KIND_HOST: WatchKind
CHANGE_TYPE_UNSPECIFIED: ChangeType
CHANGE_TYPE_ADDED: ChangeType
CHANGE_TYPE_MODIFIED: ChangeType
CHANGE_TYPE_REMOVED: ChangeType

class WatchRequest(_message.Message):
    __slots__ = ("after_revision", "kinds", "vms", "hosts")
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    VMS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    kinds: _containers.RepeatedScalarFieldContainer[WatchKind]
    vms: _vm_pb2.VmFilter
    hosts: _host_pb2.HostFilter
    def __init__(self, after_revision: _Optional[int] = ..., kinds: _Optional[_Iterable[_Union[WatchKind, str]]] = ..., vms: _Optional[_Union[_vm_pb2.VmFilter, _Mapping[str, _Any]]] = ..., hosts: _Optional[_Union[_host_pb2.HostFilter, _Mapping[str, _Any]]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("events", "revision", "initial_state_complete")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    revision: int
    initial_state_complete: bool
    def __init__(self, events: _Optional[_Iterable[_Union[WatchEvent, _Mapping[str, _Any]]]] = ..., revision: _Optional[int] = ..., initial_state_complete: _Optional[bool] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("type", "revision", "vm", "host")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VM_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    type: ChangeType
    revision: int
    vm: _vm_pb2.Vm
    host: _host_pb2.Host
    def __init__(self, type: _Optional[_Union[ChangeType, str]] = ..., revision: _Optional[int] = ..., vm: _Optional[_Union[_vm_pb2.Vm, _Mapping[str, _Any]]] = ..., host: _Optional[_Union[_host_pb2.Host, _Mapping[str, _Any]]] = ...) -> None: ...
