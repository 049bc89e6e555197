import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HostState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_STATE_UNSPECIFIED: _ClassVar[HostState]
    HOST_STATE_CONNECTING: _ClassVar[HostState]
    HOST_STATE_ONLINE: _ClassVar[HostState]
    HOST_STATE_SUSPECT: _ClassVar[HostState]
    HOST_STATE_OFFLINE: _ClassVar[HostState]
    HOST_STATE_REVOKED: _ClassVar[HostState]

class HostImageKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_IMAGE_KIND_UNSPECIFIED: _ClassVar[HostImageKind]
    HOST_IMAGE_KIND_KERNEL: _ClassVar[HostImageKind]
    HOST_IMAGE_KIND_ROOT: _ClassVar[HostImageKind]

class HostObjectState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_OBJECT_STATE_UNSPECIFIED: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_OWNED: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_PENDING_REMOVAL: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_SHARED: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_ORPHAN: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_UNCLEAR: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_CLAIMED_ELSEWHERE: _ClassVar[HostObjectState]
    HOST_OBJECT_STATE_UNCLAIMED: _ClassVar[HostObjectState]

class KeptReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEPT_REASON_UNSPECIFIED: _ClassVar[KeptReason]
    KEPT_REASON_GRACE_PERIOD: _ClassVar[KeptReason]
    KEPT_REASON_BUDGET_SPENT: _ClassVar[KeptReason]
    KEPT_REASON_UNCLEAR: _ClassVar[KeptReason]
    KEPT_REASON_CLAIMED: _ClassVar[KeptReason]
    KEPT_REASON_PROCESS_STAYS: _ClassVar[KeptReason]
    KEPT_REASON_MOUNTED_BY_OTHERS: _ClassVar[KeptReason]
    KEPT_REASON_FOUND_OWNER: _ClassVar[KeptReason]
HOST_STATE_UNSPECIFIED: HostState
HOST_STATE_CONNECTING: HostState
HOST_STATE_ONLINE: HostState
HOST_STATE_SUSPECT: HostState
HOST_STATE_OFFLINE: HostState
HOST_STATE_REVOKED: HostState
HOST_IMAGE_KIND_UNSPECIFIED: HostImageKind
HOST_IMAGE_KIND_KERNEL: HostImageKind
HOST_IMAGE_KIND_ROOT: HostImageKind
HOST_OBJECT_STATE_UNSPECIFIED: HostObjectState
HOST_OBJECT_STATE_OWNED: HostObjectState
HOST_OBJECT_STATE_PENDING_REMOVAL: HostObjectState
HOST_OBJECT_STATE_SHARED: HostObjectState
HOST_OBJECT_STATE_ORPHAN: HostObjectState
HOST_OBJECT_STATE_UNCLEAR: HostObjectState
HOST_OBJECT_STATE_CLAIMED_ELSEWHERE: HostObjectState
HOST_OBJECT_STATE_UNCLAIMED: HostObjectState
KEPT_REASON_UNSPECIFIED: KeptReason
KEPT_REASON_GRACE_PERIOD: KeptReason
KEPT_REASON_BUDGET_SPENT: KeptReason
KEPT_REASON_UNCLEAR: KeptReason
KEPT_REASON_CLAIMED: KeptReason
KEPT_REASON_PROCESS_STAYS: KeptReason
KEPT_REASON_MOUNTED_BY_OTHERS: KeptReason
KEPT_REASON_FOUND_OWNER: KeptReason

class Host(_message.Message):
    __slots__ = ("id", "name", "agent_address", "labels", "cordoned", "guest_subnet", "create_time", "certificate_expire_time", "status", "etag", "overcommit", "revision", "revocation", "accepted_capacity")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    GUEST_SUBNET_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    OVERCOMMIT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    agent_address: str
    labels: _containers.ScalarMap[str, str]
    cordoned: bool
    guest_subnet: str
    create_time: _timestamp_pb2.Timestamp
    certificate_expire_time: _timestamp_pb2.Timestamp
    status: HostStatus
    etag: str
    overcommit: HostOvercommit
    revision: int
    revocation: HostRevocation
    accepted_capacity: HostResources
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., agent_address: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., cordoned: _Optional[bool] = ..., guest_subnet: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., status: _Optional[_Union[HostStatus, _Mapping[str, _Any]]] = ..., etag: _Optional[str] = ..., overcommit: _Optional[_Union[HostOvercommit, _Mapping[str, _Any]]] = ..., revision: _Optional[int] = ..., revocation: _Optional[_Union[HostRevocation, _Mapping[str, _Any]]] = ..., accepted_capacity: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ...) -> None: ...

class HostRevocation(_message.Message):
    __slots__ = ("time", "actor", "reason")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class HostOvercommit(_message.Message):
    __slots__ = ("vcpus", "memory")
    VCPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    vcpus: float
    memory: float
    def __init__(self, vcpus: _Optional[float] = ..., memory: _Optional[float] = ...) -> None: ...

class HostStatus(_message.Message):
    __slots__ = ("state", "reason", "message", "last_seen", "state_since", "simulated", "agent_version", "agent_epoch", "boot_id", "capacity", "booked", "vm_count", "images", "vmm", "kernel_release", "unclaimed_vm_ids", "root_disks", "unclaimed_vm_count", "allocatable", "addresses_free", "overcommit", "accepted_capacity", "conditions", "certificate")
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    VM_COUNT_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VMM_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    UNCLAIMED_VM_IDS_FIELD_NUMBER: _ClassVar[int]
    ROOT_DISKS_FIELD_NUMBER: _ClassVar[int]
    UNCLAIMED_VM_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALLOCATABLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FREE_FIELD_NUMBER: _ClassVar[int]
    OVERCOMMIT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    state: HostState
    reason: str
    message: str
    last_seen: _timestamp_pb2.Timestamp
    state_since: _timestamp_pb2.Timestamp
    simulated: bool
    agent_version: str
    agent_epoch: int
    boot_id: str
    capacity: HostResources
    booked: HostResources
    vm_count: int
    images: _containers.RepeatedCompositeFieldContainer[HostImage]
    vmm: str
    kernel_release: str
    unclaimed_vm_ids: _containers.RepeatedScalarFieldContainer[str]
    root_disks: str
    unclaimed_vm_count: int
    allocatable: HostResources
    addresses_free: int
    overcommit: HostOvercommit
    accepted_capacity: HostResources
    conditions: _containers.RepeatedCompositeFieldContainer[HostCondition]
    certificate: HostCertificate
    def __init__(self, state: _Optional[_Union[HostState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., last_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., simulated: _Optional[bool] = ..., agent_version: _Optional[str] = ..., agent_epoch: _Optional[int] = ..., boot_id: _Optional[str] = ..., capacity: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ..., booked: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ..., vm_count: _Optional[int] = ..., images: _Optional[_Iterable[_Union[HostImage, _Mapping[str, _Any]]]] = ..., vmm: _Optional[str] = ..., kernel_release: _Optional[str] = ..., unclaimed_vm_ids: _Optional[_Iterable[str]] = ..., root_disks: _Optional[str] = ..., unclaimed_vm_count: _Optional[int] = ..., allocatable: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ..., addresses_free: _Optional[int] = ..., overcommit: _Optional[_Union[HostOvercommit, _Mapping[str, _Any]]] = ..., accepted_capacity: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ..., conditions: _Optional[_Iterable[_Union[HostCondition, _Mapping[str, _Any]]]] = ..., certificate: _Optional[_Union[HostCertificate, _Mapping[str, _Any]]] = ...) -> None: ...

class HostCondition(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class HostCertificate(_message.Message):
    __slots__ = ("not_after", "renewal_error", "renewal_failing_since")
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_ERROR_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FAILING_SINCE_FIELD_NUMBER: _ClassVar[int]
    not_after: _timestamp_pb2.Timestamp
    renewal_error: str
    renewal_failing_since: _timestamp_pb2.Timestamp
    def __init__(self, not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., renewal_error: _Optional[str] = ..., renewal_failing_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class HostResources(_message.Message):
    __slots__ = ("vcpus", "memory_mib", "disk_mib", "guests")
    VCPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    DISK_MIB_FIELD_NUMBER: _ClassVar[int]
    GUESTS_FIELD_NUMBER: _ClassVar[int]
    vcpus: int
    memory_mib: int
    disk_mib: int
    guests: int
    def __init__(self, vcpus: _Optional[int] = ..., memory_mib: _Optional[int] = ..., disk_mib: _Optional[int] = ..., guests: _Optional[int] = ...) -> None: ...

class HostImage(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256", "kind")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: str
    kind: HostImageKind
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., kind: _Optional[_Union[HostImageKind, str]] = ...) -> None: ...

class CreateJoinTokenRequest(_message.Message):
    __slots__ = ("ttl", "host_name", "labels", "accepted_capacity")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TTL_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    host_name: str
    labels: _containers.ScalarMap[str, str]
    accepted_capacity: HostResources
    def __init__(self, ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., host_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., accepted_capacity: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ...) -> None: ...

class CreateJoinTokenResponse(_message.Message):
    __slots__ = ("token", "expire_time")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class JoinHostRequest(_message.Message):
    __slots__ = ("token", "name", "certificate_request_pem", "agent_address", "labels", "host_id", "used_networks")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_PEM_FIELD_NUMBER: _ClassVar[int]
    AGENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    USED_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    token: str
    name: str
    certificate_request_pem: str
    agent_address: str
    labels: _containers.ScalarMap[str, str]
    host_id: str
    used_networks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, token: _Optional[str] = ..., name: _Optional[str] = ..., certificate_request_pem: _Optional[str] = ..., agent_address: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., host_id: _Optional[str] = ..., used_networks: _Optional[_Iterable[str]] = ...) -> None: ...

class JoinHostResponse(_message.Message):
    __slots__ = ("host_id", "certificate_pem", "ca_certificate_pem", "guest_subnet", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    GUEST_SUBNET_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    host_id: str
    certificate_pem: str
    ca_certificate_pem: str
    guest_subnet: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, host_id: _Optional[str] = ..., certificate_pem: _Optional[str] = ..., ca_certificate_pem: _Optional[str] = ..., guest_subnet: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetHostRequest(_message.Message):
    __slots__ = ("host",)
    HOST_FIELD_NUMBER: _ClassVar[int]
    host: str
    def __init__(self, host: _Optional[str] = ...) -> None: ...

class ListHostsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "label_selector")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    label_selector: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., label_selector: _Optional[str] = ...) -> None: ...

class ListHostsResponse(_message.Message):
    __slots__ = ("hosts", "next_page_token", "revision")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[Host]
    next_page_token: str
    revision: int
    def __init__(self, hosts: _Optional[_Iterable[_Union[Host, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateHostRequest(_message.Message):
    __slots__ = ("host", "etag", "labels", "agent_address", "request_id", "update_mask", "overcommit", "accepted_capacity")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    OVERCOMMIT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    labels: _containers.ScalarMap[str, str]
    agent_address: str
    request_id: str
    update_mask: _field_mask_pb2.FieldMask
    overcommit: HostOvercommit
    accepted_capacity: HostResources
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., agent_address: _Optional[str] = ..., request_id: _Optional[str] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ..., overcommit: _Optional[_Union[HostOvercommit, _Mapping[str, _Any]]] = ..., accepted_capacity: _Optional[_Union[HostResources, _Mapping[str, _Any]]] = ...) -> None: ...

class DeleteHostRequest(_message.Message):
    __slots__ = ("host", "etag", "allow_missing", "request_id")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    allow_missing: bool
    request_id: str
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class RevokeHostRequest(_message.Message):
    __slots__ = ("host", "etag", "reason", "request_id")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    reason: str
    request_id: str
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CordonHostRequest(_message.Message):
    __slots__ = ("host", "etag", "request_id")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    request_id: str
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UncordonHostRequest(_message.Message):
    __slots__ = ("host", "etag", "request_id")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    request_id: str
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DrainHostRequest(_message.Message):
    __slots__ = ("host", "etag")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    host: str
    etag: str
    def __init__(self, host: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class WatchHostsRequest(_message.Message):
    __slots__ = ("after_revision", "filter")
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    filter: HostFilter
    def __init__(self, after_revision: _Optional[int] = ..., filter: _Optional[_Union[HostFilter, _Mapping[str, _Any]]] = ...) -> None: ...

class HostFilter(_message.Message):
    __slots__ = ("label_selector", "states")
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    label_selector: str
    states: _containers.RepeatedScalarFieldContainer[HostState]
    def __init__(self, label_selector: _Optional[str] = ..., states: _Optional[_Iterable[_Union[HostState, str]]] = ...) -> None: ...

class WatchHostsResponse(_message.Message):
    __slots__ = ("hosts", "removed_host_ids", "initial_state_complete", "revision")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_HOST_IDS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[Host]
    removed_host_ids: _containers.RepeatedScalarFieldContainer[str]
    initial_state_complete: bool
    revision: int
    def __init__(self, hosts: _Optional[_Iterable[_Union[Host, _Mapping[str, _Any]]]] = ..., removed_host_ids: _Optional[_Iterable[str]] = ..., initial_state_complete: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class GetHostInventoryRequest(_message.Message):
    __slots__ = ("host", "page_size", "page_token", "only_unowned")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ONLY_UNOWNED_FIELD_NUMBER: _ClassVar[int]
    host: str
    page_size: int
    page_token: str
    only_unowned: bool
    def __init__(self, host: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., only_unowned: _Optional[bool] = ...) -> None: ...

class GetHostInventoryResponse(_message.Message):
    __slots__ = ("objects", "next_page_token", "counts", "policy", "recent_sweeps", "taken_at")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RECENT_SWEEPS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_AT_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[HostObject]
    next_page_token: str
    counts: _containers.RepeatedCompositeFieldContainer[HostObjectCount]
    policy: SweepPolicy
    recent_sweeps: _containers.RepeatedCompositeFieldContainer[SweepRecord]
    taken_at: _timestamp_pb2.Timestamp
    def __init__(self, objects: _Optional[_Iterable[_Union[HostObject, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ..., counts: _Optional[_Iterable[_Union[HostObjectCount, _Mapping[str, _Any]]]] = ..., policy: _Optional[_Union[SweepPolicy, _Mapping[str, _Any]]] = ..., recent_sweeps: _Optional[_Iterable[_Union[SweepRecord, _Mapping[str, _Any]]]] = ..., taken_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class HostObjectCount(_message.Message):
    __slots__ = ("kind", "state", "count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    state: HostObjectState
    count: int
    def __init__(self, kind: _Optional[str] = ..., state: _Optional[_Union[HostObjectState, str]] = ..., count: _Optional[int] = ...) -> None: ...

class HostObject(_message.Message):
    __slots__ = ("kind", "name", "vm_id", "age", "size_bytes", "vm_name", "state", "detail", "orphan_for", "claimed_by_host_id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VM_ID_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VM_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ORPHAN_FOR_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_BY_HOST_ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    vm_id: str
    age: _duration_pb2.Duration
    size_bytes: int
    vm_name: str
    state: HostObjectState
    detail: str
    orphan_for: _duration_pb2.Duration
    claimed_by_host_id: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., vm_id: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., size_bytes: _Optional[int] = ..., vm_name: _Optional[str] = ..., state: _Optional[_Union[HostObjectState, str]] = ..., detail: _Optional[str] = ..., orphan_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., claimed_by_host_id: _Optional[str] = ...) -> None: ...

class SweepPolicy(_message.Message):
    __slots__ = ("grace", "budget_per_hour", "budget_left", "automatic")
    GRACE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    BUDGET_LEFT_FIELD_NUMBER: _ClassVar[int]
    AUTOMATIC_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    budget_per_hour: int
    budget_left: int
    automatic: bool
    def __init__(self, grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., budget_per_hour: _Optional[int] = ..., budget_left: _Optional[int] = ..., automatic: _Optional[bool] = ...) -> None: ...

class SweepRecord(_message.Message):
    __slots__ = ("time", "actor", "removed", "kept", "failed", "message")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    actor: str
    removed: int
    kept: int
    failed: int
    message: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., actor: _Optional[str] = ..., removed: _Optional[int] = ..., kept: _Optional[int] = ..., failed: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class SweepHostRequest(_message.Message):
    __slots__ = ("host", "dry_run", "request_id")
    HOST_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    host: str
    dry_run: bool
    request_id: str
    def __init__(self, host: _Optional[str] = ..., dry_run: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class SweepHostResponse(_message.Message):
    __slots__ = ("removed", "kept", "failed", "not_listed", "policy", "repeated")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    NOT_LISTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    removed: _containers.RepeatedCompositeFieldContainer[HostObject]
    kept: _containers.RepeatedCompositeFieldContainer[KeptObject]
    failed: _containers.RepeatedCompositeFieldContainer[FailedObject]
    not_listed: int
    policy: SweepPolicy
    repeated: bool
    def __init__(self, removed: _Optional[_Iterable[_Union[HostObject, _Mapping[str, _Any]]]] = ..., kept: _Optional[_Iterable[_Union[KeptObject, _Mapping[str, _Any]]]] = ..., failed: _Optional[_Iterable[_Union[FailedObject, _Mapping[str, _Any]]]] = ..., not_listed: _Optional[int] = ..., policy: _Optional[_Union[SweepPolicy, _Mapping[str, _Any]]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class KeptObject(_message.Message):
    __slots__ = ("object", "reason", "message")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    object: HostObject
    reason: KeptReason
    message: str
    def __init__(self, object: _Optional[_Union[HostObject, _Mapping[str, _Any]]] = ..., reason: _Optional[_Union[KeptReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class FailedObject(_message.Message):
    __slots__ = ("object", "message")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    object: HostObject
    message: str
    def __init__(self, object: _Optional[_Union[HostObject, _Mapping[str, _Any]]] = ..., message: _Optional[str] = ...) -> None: ...
