import datetime

from . import guest_pb2 as _guest_pb2
from . import limits_pb2 as _limits_pb2
from . import traffic_pb2 as _traffic_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DesiredState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_STATE_UNSPECIFIED: _ClassVar[DesiredState]
    DESIRED_STATE_RUNNING: _ClassVar[DesiredState]
    DESIRED_STATE_PAUSED: _ClassVar[DesiredState]
    DESIRED_STATE_STOPPED: _ClassVar[DesiredState]
    DESIRED_STATE_ABSENT: _ClassVar[DesiredState]

class EgressPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EGRESS_POLICY_UNSPECIFIED: _ClassVar[EgressPolicy]
    EGRESS_POLICY_NAT: _ClassVar[EgressPolicy]
    EGRESS_POLICY_NONE: _ClassVar[EgressPolicy]

class PlacementStrategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACEMENT_STRATEGY_UNSPECIFIED: _ClassVar[PlacementStrategy]
    PLACEMENT_STRATEGY_SPREAD: _ClassVar[PlacementStrategy]
    PLACEMENT_STRATEGY_PACK: _ClassVar[PlacementStrategy]

class RestartPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESTART_POLICY_UNSPECIFIED: _ClassVar[RestartPolicy]
    RESTART_POLICY_NEVER: _ClassVar[RestartPolicy]
    RESTART_POLICY_ON_FAILURE: _ClassVar[RestartPolicy]
    RESTART_POLICY_ALWAYS: _ClassVar[RestartPolicy]

class VmState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VM_STATE_UNSPECIFIED: _ClassVar[VmState]
    VM_STATE_PENDING: _ClassVar[VmState]
    VM_STATE_PREPARING: _ClassVar[VmState]
    VM_STATE_STARTING: _ClassVar[VmState]
    VM_STATE_RUNNING: _ClassVar[VmState]
    VM_STATE_PAUSED: _ClassVar[VmState]
    VM_STATE_STOPPING: _ClassVar[VmState]
    VM_STATE_STOPPED: _ClassVar[VmState]
    VM_STATE_CRASHED: _ClassVar[VmState]
    VM_STATE_FAILED: _ClassVar[VmState]
    VM_STATE_DELETING: _ClassVar[VmState]
    VM_STATE_UNKNOWN: _ClassVar[VmState]
    VM_STATE_DELETED: _ClassVar[VmState]

class WaitOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_OUTCOME_UNSPECIFIED: _ClassVar[WaitOutcome]
    WAIT_OUTCOME_REACHED: _ClassVar[WaitOutcome]
    WAIT_OUTCOME_FAILED: _ClassVar[WaitOutcome]
    WAIT_OUTCOME_SUPERSEDED: _ClassVar[WaitOutcome]
    WAIT_OUTCOME_TIMEOUT: _ClassVar[WaitOutcome]

class VmEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VM_EVENT_TYPE_UNSPECIFIED: _ClassVar[VmEventType]
    VM_EVENT_TYPE_ADDED: _ClassVar[VmEventType]
    VM_EVENT_TYPE_MODIFIED: _ClassVar[VmEventType]
    VM_EVENT_TYPE_REMOVED: _ClassVar[VmEventType]
DESIRED_STATE_UNSPECIFIED: DesiredState
DESIRED_STATE_RUNNING: DesiredState
DESIRED_STATE_PAUSED: DesiredState
DESIRED_STATE_STOPPED: DesiredState
DESIRED_STATE_ABSENT: DesiredState
EGRESS_POLICY_UNSPECIFIED: EgressPolicy
EGRESS_POLICY_NAT: EgressPolicy
EGRESS_POLICY_NONE: EgressPolicy
PLACEMENT_STRATEGY_UNSPECIFIED: PlacementStrategy
PLACEMENT_STRATEGY_SPREAD: PlacementStrategy
PLACEMENT_STRATEGY_PACK: PlacementStrategy
RESTART_POLICY_UNSPECIFIED: RestartPolicy
RESTART_POLICY_NEVER: RestartPolicy
RESTART_POLICY_ON_FAILURE: RestartPolicy
RESTART_POLICY_ALWAYS: RestartPolicy
VM_STATE_UNSPECIFIED: VmState
VM_STATE_PENDING: VmState
VM_STATE_PREPARING: VmState
VM_STATE_STARTING: VmState
VM_STATE_RUNNING: VmState
VM_STATE_PAUSED: VmState
VM_STATE_STOPPING: VmState
VM_STATE_STOPPED: VmState
VM_STATE_CRASHED: VmState
VM_STATE_FAILED: VmState
VM_STATE_DELETING: VmState
VM_STATE_UNKNOWN: VmState
VM_STATE_DELETED: VmState
WAIT_OUTCOME_UNSPECIFIED: WaitOutcome
WAIT_OUTCOME_REACHED: WaitOutcome
WAIT_OUTCOME_FAILED: WaitOutcome
WAIT_OUTCOME_SUPERSEDED: WaitOutcome
WAIT_OUTCOME_TIMEOUT: WaitOutcome
VM_EVENT_TYPE_UNSPECIFIED: VmEventType
VM_EVENT_TYPE_ADDED: VmEventType
VM_EVENT_TYPE_MODIFIED: VmEventType
VM_EVENT_TYPE_REMOVED: VmEventType

class Vm(_message.Message):
    __slots__ = ("id", "name", "spec", "desired_state", "status", "generation", "etag", "revision", "create_time", "update_time", "project", "placement_evaluation")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_EVALUATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    spec: VmSpec
    desired_state: DesiredState
    status: VmStatus
    generation: int
    etag: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    project: str
    placement_evaluation: PlacementEvaluation
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., spec: _Optional[_Union[VmSpec, _Mapping[str, _Any]]] = ..., desired_state: _Optional[_Union[DesiredState, str]] = ..., status: _Optional[_Union[VmStatus, _Mapping[str, _Any]]] = ..., generation: _Optional[int] = ..., etag: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., project: _Optional[str] = ..., placement_evaluation: _Optional[_Union[PlacementEvaluation, _Mapping[str, _Any]]] = ...) -> None: ...

class VmSpec(_message.Message):
    __slots__ = ("vcpus", "memory_mib", "kernel", "root_image", "root_disk_mib", "work_disk", "boot_args", "metadata", "network", "rate_limits", "labels", "placement", "restart_policy", "initrd", "limits")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VCPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ROOT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    ROOT_DISK_MIB_FIELD_NUMBER: _ClassVar[int]
    WORK_DISK_FIELD_NUMBER: _ClassVar[int]
    BOOT_ARGS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    RESTART_POLICY_FIELD_NUMBER: _ClassVar[int]
    INITRD_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    vcpus: int
    memory_mib: int
    kernel: ImageRef
    root_image: ImageRef
    root_disk_mib: int
    work_disk: WorkDisk
    boot_args: str
    metadata: _struct_pb2.Struct
    network: NetworkSpec
    rate_limits: RateLimits
    labels: _containers.ScalarMap[str, str]
    placement: Placement
    restart_policy: RestartPolicy
    initrd: ImageRef
    limits: _limits_pb2.ResourceLimits
    def __init__(self, vcpus: _Optional[int] = ..., memory_mib: _Optional[int] = ..., kernel: _Optional[_Union[ImageRef, _Mapping[str, _Any]]] = ..., root_image: _Optional[_Union[ImageRef, _Mapping[str, _Any]]] = ..., root_disk_mib: _Optional[int] = ..., work_disk: _Optional[_Union[WorkDisk, _Mapping[str, _Any]]] = ..., boot_args: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping[str, _Any]]] = ..., network: _Optional[_Union[NetworkSpec, _Mapping[str, _Any]]] = ..., rate_limits: _Optional[_Union[RateLimits, _Mapping[str, _Any]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., placement: _Optional[_Union[Placement, _Mapping[str, _Any]]] = ..., restart_policy: _Optional[_Union[RestartPolicy, str]] = ..., initrd: _Optional[_Union[ImageRef, _Mapping[str, _Any]]] = ..., limits: _Optional[_Union[_limits_pb2.ResourceLimits, _Mapping[str, _Any]]] = ...) -> None: ...

class ImageRef(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class WorkDisk(_message.Message):
    __slots__ = ("size_mib",)
    SIZE_MIB_FIELD_NUMBER: _ClassVar[int]
    size_mib: int
    def __init__(self, size_mib: _Optional[int] = ...) -> None: ...

class NetworkSpec(_message.Message):
    __slots__ = ("egress", "ports", "allow_host_metadata")
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_HOST_METADATA_FIELD_NUMBER: _ClassVar[int]
    egress: EgressPolicy
    ports: _containers.RepeatedCompositeFieldContainer[PortForward]
    allow_host_metadata: bool
    def __init__(self, egress: _Optional[_Union[EgressPolicy, str]] = ..., ports: _Optional[_Iterable[_Union[PortForward, _Mapping[str, _Any]]]] = ..., allow_host_metadata: _Optional[bool] = ...) -> None: ...

class PortForward(_message.Message):
    __slots__ = ("host_port", "guest_port")
    HOST_PORT_FIELD_NUMBER: _ClassVar[int]
    GUEST_PORT_FIELD_NUMBER: _ClassVar[int]
    host_port: int
    guest_port: int
    def __init__(self, host_port: _Optional[int] = ..., guest_port: _Optional[int] = ...) -> None: ...

class RateLimits(_message.Message):
    __slots__ = ("disk_bytes_per_second", "disk_ops_per_second", "net_rx_bytes_per_second", "net_tx_bytes_per_second")
    DISK_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DISK_OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    NET_RX_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    NET_TX_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    disk_bytes_per_second: int
    disk_ops_per_second: int
    net_rx_bytes_per_second: int
    net_tx_bytes_per_second: int
    def __init__(self, disk_bytes_per_second: _Optional[int] = ..., disk_ops_per_second: _Optional[int] = ..., net_rx_bytes_per_second: _Optional[int] = ..., net_tx_bytes_per_second: _Optional[int] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("host", "host_labels", "strategy", "affinity", "priority", "pool", "scheduler_name")
    class HostLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    HOST_LABELS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_NAME_FIELD_NUMBER: _ClassVar[int]
    host: str
    host_labels: _containers.ScalarMap[str, str]
    strategy: PlacementStrategy
    affinity: _containers.RepeatedCompositeFieldContainer[AffinityRule]
    priority: int
    pool: str
    scheduler_name: str
    def __init__(self, host: _Optional[str] = ..., host_labels: _Optional[_Mapping[str, str]] = ..., strategy: _Optional[_Union[PlacementStrategy, str]] = ..., affinity: _Optional[_Iterable[_Union[AffinityRule, _Mapping[str, _Any]]]] = ..., priority: _Optional[int] = ..., pool: _Optional[str] = ..., scheduler_name: _Optional[str] = ...) -> None: ...

class AffinityRule(_message.Message):
    __slots__ = ("vm_selector", "host_selector", "topology", "anti", "weight")
    VM_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    HOST_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    ANTI_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    vm_selector: str
    host_selector: str
    topology: str
    anti: bool
    weight: int
    def __init__(self, vm_selector: _Optional[str] = ..., host_selector: _Optional[str] = ..., topology: _Optional[str] = ..., anti: _Optional[bool] = ..., weight: _Optional[int] = ...) -> None: ...

class PlacementEvaluation(_message.Message):
    __slots__ = ("strategy", "chosen_host_id", "reason", "hosts", "suitable_hosts", "objections")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_HOST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    SUITABLE_HOSTS_FIELD_NUMBER: _ClassVar[int]
    OBJECTIONS_FIELD_NUMBER: _ClassVar[int]
    strategy: PlacementStrategy
    chosen_host_id: str
    reason: str
    hosts: _containers.RepeatedCompositeFieldContainer[HostVerdict]
    suitable_hosts: int
    objections: _containers.RepeatedCompositeFieldContainer[HostObjectionCount]
    def __init__(self, strategy: _Optional[_Union[PlacementStrategy, str]] = ..., chosen_host_id: _Optional[str] = ..., reason: _Optional[str] = ..., hosts: _Optional[_Iterable[_Union[HostVerdict, _Mapping[str, _Any]]]] = ..., suitable_hosts: _Optional[int] = ..., objections: _Optional[_Iterable[_Union[HostObjectionCount, _Mapping[str, _Any]]]] = ...) -> None: ...

class HostVerdict(_message.Message):
    __slots__ = ("host_id", "host_name", "suitable", "objections", "score", "score_parts")
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    SUITABLE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIONS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_PARTS_FIELD_NUMBER: _ClassVar[int]
    host_id: str
    host_name: str
    suitable: bool
    objections: _containers.RepeatedCompositeFieldContainer[HostObjection]
    score: int
    score_parts: _containers.RepeatedCompositeFieldContainer[ScorePart]
    def __init__(self, host_id: _Optional[str] = ..., host_name: _Optional[str] = ..., suitable: _Optional[bool] = ..., objections: _Optional[_Iterable[_Union[HostObjection, _Mapping[str, _Any]]]] = ..., score: _Optional[int] = ..., score_parts: _Optional[_Iterable[_Union[ScorePart, _Mapping[str, _Any]]]] = ...) -> None: ...

class HostObjection(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ScorePart(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class HostObjectionCount(_message.Message):
    __slots__ = ("reason", "hosts")
    REASON_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    hosts: int
    def __init__(self, reason: _Optional[str] = ..., hosts: _Optional[int] = ...) -> None: ...

class VmStatus(_message.Message):
    __slots__ = ("state", "reason", "message", "observed_at", "host_id", "host_name", "simulated", "observed_generation", "guest_address", "mac_address", "vsock_cid", "dns_name", "host_boot_id", "process", "exit", "restart_count", "adopted_at", "agent_epoch", "unknown_since", "state_since", "devices", "next_attempt_at", "guest", "confirmed_at", "limits", "traffic")
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    GUEST_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VSOCK_CID_FIELD_NUMBER: _ClassVar[int]
    DNS_NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    RESTART_COUNT_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_AT_FIELD_NUMBER: _ClassVar[int]
    AGENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_SINCE_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_AT_FIELD_NUMBER: _ClassVar[int]
    GUEST_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_AT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    state: VmState
    reason: str
    message: str
    observed_at: _timestamp_pb2.Timestamp
    host_id: str
    host_name: str
    simulated: bool
    observed_generation: int
    guest_address: str
    mac_address: str
    vsock_cid: int
    dns_name: str
    host_boot_id: str
    process: VmProcess
    exit: VmExit
    restart_count: int
    adopted_at: _timestamp_pb2.Timestamp
    agent_epoch: int
    unknown_since: _timestamp_pb2.Timestamp
    state_since: _timestamp_pb2.Timestamp
    devices: VmDevices
    next_attempt_at: _timestamp_pb2.Timestamp
    guest: _guest_pb2.GuestStatus
    confirmed_at: _timestamp_pb2.Timestamp
    limits: _limits_pb2.EffectiveLimits
    traffic: _traffic_pb2.VmTraffic
    def __init__(self, state: _Optional[_Union[VmState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., host_id: _Optional[str] = ..., host_name: _Optional[str] = ..., simulated: _Optional[bool] = ..., observed_generation: _Optional[int] = ..., guest_address: _Optional[str] = ..., mac_address: _Optional[str] = ..., vsock_cid: _Optional[int] = ..., dns_name: _Optional[str] = ..., host_boot_id: _Optional[str] = ..., process: _Optional[_Union[VmProcess, _Mapping[str, _Any]]] = ..., exit: _Optional[_Union[VmExit, _Mapping[str, _Any]]] = ..., restart_count: _Optional[int] = ..., adopted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., agent_epoch: _Optional[int] = ..., unknown_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., devices: _Optional[_Union[VmDevices, _Mapping[str, _Any]]] = ..., next_attempt_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., guest: _Optional[_Union[_guest_pb2.GuestStatus, _Mapping[str, _Any]]] = ..., confirmed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., limits: _Optional[_Union[_limits_pb2.EffectiveLimits, _Mapping[str, _Any]]] = ..., traffic: _Optional[_Union[_traffic_pb2.VmTraffic, _Mapping[str, _Any]]] = ...) -> None: ...

class VmProcess(_message.Message):
    __slots__ = ("pid", "start_ticks", "start_time")
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    pid: int
    start_ticks: int
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class VmExit(_message.Message):
    __slots__ = ("crashed", "code", "signal", "message", "time", "reason")
    CRASHED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    crashed: bool
    code: int
    signal: int
    message: str
    time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, crashed: _Optional[bool] = ..., code: _Optional[int] = ..., signal: _Optional[int] = ..., message: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., reason: _Optional[str] = ...) -> None: ...

class VmDevices(_message.Message):
    __slots__ = ("tap", "base_loop", "cow_loop", "snapshot", "cow_used_sectors", "cow_total_sectors", "api_socket", "vsock_socket", "vmm", "root_disk")
    TAP_FIELD_NUMBER: _ClassVar[int]
    BASE_LOOP_FIELD_NUMBER: _ClassVar[int]
    COW_LOOP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    COW_USED_SECTORS_FIELD_NUMBER: _ClassVar[int]
    COW_TOTAL_SECTORS_FIELD_NUMBER: _ClassVar[int]
    API_SOCKET_FIELD_NUMBER: _ClassVar[int]
    VSOCK_SOCKET_FIELD_NUMBER: _ClassVar[int]
    VMM_FIELD_NUMBER: _ClassVar[int]
    ROOT_DISK_FIELD_NUMBER: _ClassVar[int]
    tap: str
    base_loop: str
    cow_loop: str
    snapshot: str
    cow_used_sectors: int
    cow_total_sectors: int
    api_socket: str
    vsock_socket: str
    vmm: str
    root_disk: str
    def __init__(self, tap: _Optional[str] = ..., base_loop: _Optional[str] = ..., cow_loop: _Optional[str] = ..., snapshot: _Optional[str] = ..., cow_used_sectors: _Optional[int] = ..., cow_total_sectors: _Optional[int] = ..., api_socket: _Optional[str] = ..., vsock_socket: _Optional[str] = ..., vmm: _Optional[str] = ..., root_disk: _Optional[str] = ...) -> None: ...

class CreateVmRequest(_message.Message):
    __slots__ = ("id", "name", "spec", "desired_state", "request_id", "validate_only", "project")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    spec: VmSpec
    desired_state: DesiredState
    request_id: str
    validate_only: bool
    project: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., spec: _Optional[_Union[VmSpec, _Mapping[str, _Any]]] = ..., desired_state: _Optional[_Union[DesiredState, str]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., project: _Optional[str] = ...) -> None: ...

class GetVmRequest(_message.Message):
    __slots__ = ("vm",)
    VM_FIELD_NUMBER: _ClassVar[int]
    vm: str
    def __init__(self, vm: _Optional[str] = ...) -> None: ...

class ListVmsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: VmFilter
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[VmFilter, _Mapping[str, _Any]]] = ...) -> None: ...

class VmFilter(_message.Message):
    __slots__ = ("label_selector", "host", "states", "project")
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    label_selector: str
    host: str
    states: _containers.RepeatedScalarFieldContainer[VmState]
    project: str
    def __init__(self, label_selector: _Optional[str] = ..., host: _Optional[str] = ..., states: _Optional[_Iterable[_Union[VmState, str]]] = ..., project: _Optional[str] = ...) -> None: ...

class ListVmsResponse(_message.Message):
    __slots__ = ("vms", "next_page_token", "revision", "total_size")
    VMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    vms: _containers.RepeatedCompositeFieldContainer[Vm]
    next_page_token: str
    revision: int
    total_size: int
    def __init__(self, vms: _Optional[_Iterable[_Union[Vm, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ..., total_size: _Optional[int] = ...) -> None: ...

class UpdateVmRequest(_message.Message):
    __slots__ = ("vm", "spec", "etag", "allow_restart", "request_id", "update_mask")
    VM_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_RESTART_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    vm: str
    spec: VmSpec
    etag: str
    allow_restart: bool
    request_id: str
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, vm: _Optional[str] = ..., spec: _Optional[_Union[VmSpec, _Mapping[str, _Any]]] = ..., etag: _Optional[str] = ..., allow_restart: _Optional[bool] = ..., request_id: _Optional[str] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ...) -> None: ...

class DeleteVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "allow_missing", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    allow_missing: bool
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StopVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "grace_period", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    GRACE_PERIOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    grace_period: _duration_pb2.Duration
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., grace_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RebootVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "grace_period", "reset_root_disk", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    GRACE_PERIOD_FIELD_NUMBER: _ClassVar[int]
    RESET_ROOT_DISK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    grace_period: _duration_pb2.Duration
    reset_root_disk: bool
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., grace_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., reset_root_disk: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeVmRequest(_message.Message):
    __slots__ = ("vm", "etag", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    etag: str
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class WaitVmRequest(_message.Message):
    __slots__ = ("vm", "state", "generation", "timeout", "guest_ready")
    VM_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    GUEST_READY_FIELD_NUMBER: _ClassVar[int]
    vm: str
    state: VmState
    generation: int
    timeout: _duration_pb2.Duration
    guest_ready: bool
    def __init__(self, vm: _Optional[str] = ..., state: _Optional[_Union[VmState, str]] = ..., generation: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, _Any]]] = ..., guest_ready: _Optional[bool] = ...) -> None: ...

class WaitVmResponse(_message.Message):
    __slots__ = ("vm", "outcome")
    VM_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    vm: Vm
    outcome: WaitOutcome
    def __init__(self, vm: _Optional[_Union[Vm, _Mapping[str, _Any]]] = ..., outcome: _Optional[_Union[WaitOutcome, str]] = ...) -> None: ...

class WatchVmsRequest(_message.Message):
    __slots__ = ("after_revision", "filter")
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    filter: VmFilter
    def __init__(self, after_revision: _Optional[int] = ..., filter: _Optional[_Union[VmFilter, _Mapping[str, _Any]]] = ...) -> None: ...

class WatchVmsResponse(_message.Message):
    __slots__ = ("events", "revision", "initial_state_complete")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[VmEvent]
    revision: int
    initial_state_complete: bool
    def __init__(self, events: _Optional[_Iterable[_Union[VmEvent, _Mapping[str, _Any]]]] = ..., revision: _Optional[int] = ..., initial_state_complete: _Optional[bool] = ...) -> None: ...

class VmEvent(_message.Message):
    __slots__ = ("type", "revision", "vm")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VM_FIELD_NUMBER: _ClassVar[int]
    type: VmEventType
    revision: int
    vm: Vm
    def __init__(self, type: _Optional[_Union[VmEventType, str]] = ..., revision: _Optional[int] = ..., vm: _Optional[_Union[Vm, _Mapping[str, _Any]]] = ...) -> None: ...

class ListVmEventsRequest(_message.Message):
    __slots__ = ("vm", "page_size", "page_token")
    VM_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    vm: str
    page_size: int
    page_token: str
    def __init__(self, vm: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVmEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[VmHistoryEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[VmHistoryEvent, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VmHistoryEvent(_message.Message):
    __slots__ = ("time", "generation", "type", "reason", "message", "actor", "times", "last_time")
    TIME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    generation: int
    type: str
    reason: str
    message: str
    actor: str
    times: int
    last_time: _timestamp_pb2.Timestamp
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., generation: _Optional[int] = ..., type: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., actor: _Optional[str] = ..., times: _Optional[int] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class BindVmRequest(_message.Message):
    __slots__ = ("vm", "host", "etag", "request_id")
    VM_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    vm: str
    host: str
    etag: str
    request_id: str
    def __init__(self, vm: _Optional[str] = ..., host: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExplainVmRequest(_message.Message):
    __slots__ = ("vm",)
    VM_FIELD_NUMBER: _ClassVar[int]
    vm: str
    def __init__(self, vm: _Optional[str] = ...) -> None: ...

class ExplainVmResponse(_message.Message):
    __slots__ = ("vm", "decision", "reason", "explanation", "placement")
    VM_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    vm: Vm
    decision: str
    reason: str
    explanation: _containers.RepeatedScalarFieldContainer[str]
    placement: PlacementEvaluation
    def __init__(self, vm: _Optional[_Union[Vm, _Mapping[str, _Any]]] = ..., decision: _Optional[str] = ..., reason: _Optional[str] = ..., explanation: _Optional[_Iterable[str]] = ..., placement: _Optional[_Union[PlacementEvaluation, _Mapping[str, _Any]]] = ...) -> None: ...

class ReadConsoleRequest(_message.Message):
    __slots__ = ("vm", "follow", "tail_bytes")
    VM_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TAIL_BYTES_FIELD_NUMBER: _ClassVar[int]
    vm: str
    follow: bool
    tail_bytes: int
    def __init__(self, vm: _Optional[str] = ..., follow: _Optional[bool] = ..., tail_bytes: _Optional[int] = ...) -> None: ...

class ReadConsoleResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class AttachConsoleRequest(_message.Message):
    __slots__ = ("vm", "tail_bytes", "data")
    VM_FIELD_NUMBER: _ClassVar[int]
    TAIL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    vm: str
    tail_bytes: int
    data: bytes
    def __init__(self, vm: _Optional[str] = ..., tail_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class AttachConsoleResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ExecVmRequest(_message.Message):
    __slots__ = ("vm", "input")
    VM_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    vm: str
    input: _guest_pb2.ExecInput
    def __init__(self, vm: _Optional[str] = ..., input: _Optional[_Union[_guest_pb2.ExecInput, _Mapping[str, _Any]]] = ...) -> None: ...

class ExecVmResponse(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: _guest_pb2.ExecOutput
    def __init__(self, output: _Optional[_Union[_guest_pb2.ExecOutput, _Mapping[str, _Any]]] = ...) -> None: ...

class CopyToVmRequest(_message.Message):
    __slots__ = ("vm", "directory", "data", "own_name")
    VM_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OWN_NAME_FIELD_NUMBER: _ClassVar[int]
    vm: str
    directory: str
    data: bytes
    own_name: str
    def __init__(self, vm: _Optional[str] = ..., directory: _Optional[str] = ..., data: _Optional[bytes] = ..., own_name: _Optional[str] = ...) -> None: ...

class CopyToVmResponse(_message.Message):
    __slots__ = ("entries", "bytes")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    entries: int
    bytes: int
    def __init__(self, entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class CopyFromVmRequest(_message.Message):
    __slots__ = ("vm", "path")
    VM_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    vm: str
    path: str
    def __init__(self, vm: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class CopyFromVmResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ForwardVmRequest(_message.Message):
    __slots__ = ("vm", "port", "data")
    VM_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    vm: str
    port: int
    data: bytes
    def __init__(self, vm: _Optional[str] = ..., port: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ForwardVmResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
