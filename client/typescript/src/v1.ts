// The messages, enums and services of the public API, generated from proto/banger/v1.

export * from "./gen/banger/v1/audit_pb.js";
export * from "./gen/banger/v1/error_pb.js";
export * from "./gen/banger/v1/guest_pb.js";
export * from "./gen/banger/v1/host_pb.js";
export * from "./gen/banger/v1/image_pb.js";
export * from "./gen/banger/v1/project_pb.js";
export * from "./gen/banger/v1/token_pb.js";
export * from "./gen/banger/v1/vm_pb.js";
