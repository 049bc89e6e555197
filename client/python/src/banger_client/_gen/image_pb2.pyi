import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_KIND_UNSPECIFIED: _ClassVar[ImageKind]
    IMAGE_KIND_KERNEL: _ClassVar[ImageKind]
    IMAGE_KIND_ROOT: _ClassVar[ImageKind]
    IMAGE_KIND_INITRD: _ClassVar[ImageKind]

class ImportStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORT_STEP_UNSPECIFIED: _ClassVar[ImportStep]
    IMPORT_STEP_PULL: _ClassVar[ImportStep]
    IMPORT_STEP_CHECK: _ClassVar[ImportStep]
    IMPORT_STEP_WRITE: _ClassVar[ImportStep]
    IMPORT_STEP_DIGEST: _ClassVar[ImportStep]

class DeviceNodes(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_NODES_UNSPECIFIED: _ClassVar[DeviceNodes]
    DEVICE_NODES_KEEP: _ClassVar[DeviceNodes]
    DEVICE_NODES_LEAVE_OUT: _ClassVar[DeviceNodes]
    DEVICE_NODES_REFUSE: _ClassVar[DeviceNodes]
IMAGE_KIND_UNSPECIFIED: ImageKind
IMAGE_KIND_KERNEL: ImageKind
IMAGE_KIND_ROOT: ImageKind
IMAGE_KIND_INITRD: ImageKind
IMPORT_STEP_UNSPECIFIED: ImportStep
IMPORT_STEP_PULL: ImportStep
IMPORT_STEP_CHECK: ImportStep
IMPORT_STEP_WRITE: ImportStep
IMPORT_STEP_DIGEST: ImportStep
DEVICE_NODES_UNSPECIFIED: DeviceNodes
DEVICE_NODES_KEEP: DeviceNodes
DEVICE_NODES_LEAVE_OUT: DeviceNodes
DEVICE_NODES_REFUSE: DeviceNodes

class Image(_message.Message):
    __slots__ = ("name", "sha256", "size_bytes", "create_time", "kind", "origin", "guest_agent", "vm_count", "hosts", "notes", "created_by", "boot", "project", "public")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    GUEST_AGENT_FIELD_NUMBER: _ClassVar[int]
    VM_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    size_bytes: int
    create_time: _timestamp_pb2.Timestamp
    kind: ImageKind
    origin: str
    guest_agent: bool
    vm_count: int
    hosts: _containers.RepeatedCompositeFieldContainer[ImageHost]
    notes: _containers.RepeatedScalarFieldContainer[str]
    created_by: str
    boot: ImageBoot
    project: str
    public: bool
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., kind: _Optional[_Union[ImageKind, str]] = ..., origin: _Optional[str] = ..., guest_agent: _Optional[bool] = ..., vm_count: _Optional[int] = ..., hosts: _Optional[_Iterable[_Union[ImageHost, _Mapping[str, _Any]]]] = ..., notes: _Optional[_Iterable[str]] = ..., created_by: _Optional[str] = ..., boot: _Optional[_Union[ImageBoot, _Mapping[str, _Any]]] = ..., project: _Optional[str] = ..., public: _Optional[bool] = ...) -> None: ...

class ImageBoot(_message.Message):
    __slots__ = ("kernel", "initrd", "boot_args")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    INITRD_FIELD_NUMBER: _ClassVar[int]
    BOOT_ARGS_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    initrd: str
    boot_args: str
    def __init__(self, kernel: _Optional[str] = ..., initrd: _Optional[str] = ..., boot_args: _Optional[str] = ...) -> None: ...

class ImageHost(_message.Message):
    __slots__ = ("host_id", "host_name", "bytes_present", "error")
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_PRESENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    host_id: str
    host_name: str
    bytes_present: int
    error: str
    def __init__(self, host_id: _Optional[str] = ..., host_name: _Optional[str] = ..., bytes_present: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ImportImageRequest(_message.Message):
    __slots__ = ("name", "source", "blob_sha256", "registry_reference", "kind", "without_guest_agent", "root_size_mib", "replace", "device_nodes", "choice", "boot", "platform", "project", "public")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BLOB_SHA256_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_GUEST_AGENT_FIELD_NUMBER: _ClassVar[int]
    ROOT_SIZE_MIB_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NODES_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: str
    blob_sha256: str
    registry_reference: str
    kind: ImageKind
    without_guest_agent: bool
    root_size_mib: int
    replace: bool
    device_nodes: DeviceNodes
    choice: str
    boot: ImageBoot
    platform: str
    project: str
    public: bool
    def __init__(self, name: _Optional[str] = ..., source: _Optional[str] = ..., blob_sha256: _Optional[str] = ..., registry_reference: _Optional[str] = ..., kind: _Optional[_Union[ImageKind, str]] = ..., without_guest_agent: _Optional[bool] = ..., root_size_mib: _Optional[int] = ..., replace: _Optional[bool] = ..., device_nodes: _Optional[_Union[DeviceNodes, str]] = ..., choice: _Optional[str] = ..., boot: _Optional[_Union[ImageBoot, _Mapping[str, _Any]]] = ..., platform: _Optional[str] = ..., project: _Optional[str] = ..., public: _Optional[bool] = ...) -> None: ...

class ImportImageProgress(_message.Message):
    __slots__ = ("step", "done_bytes", "total_bytes", "image")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    step: ImportStep
    done_bytes: int
    total_bytes: int
    image: Image
    def __init__(self, step: _Optional[_Union[ImportStep, str]] = ..., done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., image: _Optional[_Union[Image, _Mapping[str, _Any]]] = ...) -> None: ...

class GetImageRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListImagesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "project")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    project: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., project: _Optional[str] = ...) -> None: ...

class ListImagesResponse(_message.Message):
    __slots__ = ("images", "next_page_token")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    next_page_token: str
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteImageRequest(_message.Message):
    __slots__ = ("name", "allow_missing", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    allow_missing: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class UploadBlobRequest(_message.Message):
    __slots__ = ("file_name", "data", "size_bytes", "project")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    data: bytes
    size_bytes: int
    project: str
    def __init__(self, file_name: _Optional[str] = ..., data: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., project: _Optional[str] = ...) -> None: ...

class UploadBlobResponse(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...
