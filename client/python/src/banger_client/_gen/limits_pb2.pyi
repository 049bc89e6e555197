from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResourceLimits(_message.Message):
    __slots__ = ("cpu_weight", "cpu_millis", "io_read_bytes_per_second", "io_write_bytes_per_second", "io_read_ops_per_second", "io_write_ops_per_second")
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLIS_FIELD_NUMBER: _ClassVar[int]
    IO_READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    IO_WRITE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    IO_READ_OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    IO_WRITE_OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    cpu_weight: int
    cpu_millis: int
    io_read_bytes_per_second: int
    io_write_bytes_per_second: int
    io_read_ops_per_second: int
    io_write_ops_per_second: int
    def __init__(self, cpu_weight: _Optional[int] = ..., cpu_millis: _Optional[int] = ..., io_read_bytes_per_second: _Optional[int] = ..., io_write_bytes_per_second: _Optional[int] = ..., io_read_ops_per_second: _Optional[int] = ..., io_write_ops_per_second: _Optional[int] = ...) -> None: ...

class EffectiveLimits(_message.Message):
    __slots__ = ("cpu_weight", "cpu_millis", "memory_bytes", "tasks", "io", "missing_controllers")
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    IO_FIELD_NUMBER: _ClassVar[int]
    MISSING_CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    cpu_weight: int
    cpu_millis: int
    memory_bytes: int
    tasks: int
    io: _containers.RepeatedCompositeFieldContainer[EffectiveIoLimit]
    missing_controllers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cpu_weight: _Optional[int] = ..., cpu_millis: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., tasks: _Optional[int] = ..., io: _Optional[_Iterable[_Union[EffectiveIoLimit, _Mapping[str, _Any]]]] = ..., missing_controllers: _Optional[_Iterable[str]] = ...) -> None: ...

class EffectiveIoLimit(_message.Message):
    __slots__ = ("device", "read_bytes_per_second", "write_bytes_per_second", "read_ops_per_second", "write_ops_per_second")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    READ_OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    device: str
    read_bytes_per_second: int
    write_bytes_per_second: int
    read_ops_per_second: int
    write_ops_per_second: int
    def __init__(self, device: _Optional[str] = ..., read_bytes_per_second: _Optional[int] = ..., write_bytes_per_second: _Optional[int] = ..., read_ops_per_second: _Optional[int] = ..., write_ops_per_second: _Optional[int] = ...) -> None: ...
