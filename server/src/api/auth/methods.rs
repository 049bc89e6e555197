//! Every method, and what it does to which kind of thing. Who may do that is decided in
//! [`crate::model::access`].
//!
//! A method that is missing here fails a test; called all the same, it is an admin's.

use crate::model::access::Action::{self, Change, Read};
use crate::model::access::Resource::{
    self, Audit, Door, Guest, Host, Image, Myself, Project, Token, Unlisted, Vm,
};

/// Every method with its action and what that is done to.
pub const METHODS: &[(&str, Action, Resource)] = &[
    ("/banger.v1.VmService/CreateVm", Change, Vm),
    ("/banger.v1.VmService/GetVm", Read, Vm),
    ("/banger.v1.VmService/ListVms", Read, Vm),
    ("/banger.v1.VmService/UpdateVm", Change, Vm),
    ("/banger.v1.VmService/DeleteVm", Change, Vm),
    ("/banger.v1.VmService/StartVm", Change, Vm),
    ("/banger.v1.VmService/StopVm", Change, Vm),
    ("/banger.v1.VmService/RebootVm", Change, Vm),
    ("/banger.v1.VmService/PauseVm", Change, Vm),
    ("/banger.v1.VmService/ResumeVm", Change, Vm),
    ("/banger.v1.VmService/BindVm", Change, Host),
    ("/banger.v1.VmService/WaitVm", Read, Vm),
    ("/banger.v1.VmService/WatchVms", Read, Vm),
    ("/banger.v1.VmService/ListVmEvents", Read, Vm),
    ("/banger.v1.VmService/ExplainVm", Read, Vm),
    ("/banger.v1.VmService/ReadConsole", Read, Guest),
    ("/banger.v1.VmService/AttachConsole", Change, Guest),
    ("/banger.v1.VmService/ExecVm", Change, Guest),
    ("/banger.v1.VmService/CopyToVm", Change, Guest),
    ("/banger.v1.VmService/CopyFromVm", Read, Guest),
    ("/banger.v1.VmService/ForwardVm", Change, Guest),
    ("/banger.v1.HostService/CreateJoinToken", Change, Host),
    // Hosts only for those who may read them.
    ("/banger.v1.WatchService/Watch", Read, Vm),
    // Its proof is the join token.
    ("/banger.v1.HostService/JoinHost", Change, Door),
    ("/banger.v1.HostService/GetHost", Read, Host),
    ("/banger.v1.HostService/ListHosts", Read, Host),
    ("/banger.v1.HostService/UpdateHost", Change, Host),
    ("/banger.v1.HostService/DeleteHost", Change, Host),
    ("/banger.v1.HostService/RevokeHost", Change, Host),
    ("/banger.v1.HostService/CordonHost", Change, Host),
    ("/banger.v1.HostService/UncordonHost", Change, Host),
    ("/banger.v1.HostService/DrainHost", Change, Host),
    ("/banger.v1.HostService/WatchHosts", Read, Host),
    ("/banger.v1.HostService/GetHostInventory", Read, Host),
    // A dry run too: it is the plan of a change, made by the host.
    ("/banger.v1.HostService/SweepHost", Change, Host),
    ("/banger.v1.ImageService/ImportImage", Change, Image),
    ("/banger.v1.ImageService/ImportImageWithProgress", Change, Image),
    ("/banger.v1.ImageService/UploadBlob", Change, Image),
    ("/banger.v1.ImageService/GetImage", Read, Image),
    ("/banger.v1.ImageService/ListImages", Read, Image),
    ("/banger.v1.ImageService/DeleteImage", Change, Image),
    ("/banger.v1.ProjectService/CreateProject", Change, Project),
    ("/banger.v1.ProjectService/GetProject", Read, Project),
    ("/banger.v1.ProjectService/ListProjects", Read, Project),
    ("/banger.v1.ProjectService/UpdateProject", Change, Project),
    ("/banger.v1.ProjectService/DeleteProject", Change, Project),
    ("/banger.v1.TokenService/CreateToken", Change, Token),
    ("/banger.v1.TokenService/ListTokens", Read, Token),
    ("/banger.v1.TokenService/RevokeToken", Change, Token),
    ("/banger.v1.TokenService/WhoAmI", Read, Myself),
    ("/banger.v1.AuditService/ListAudit", Read, Audit),
    ("/banger.v1.AuditService/WatchAudit", Read, Audit),
    ("/grpc.health.v1.Health/Check", Read, Door),
    ("/grpc.health.v1.Health/List", Read, Door),
    ("/grpc.health.v1.Health/Watch", Read, Door),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Read, Door),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Read, Door),
];

/// What the method at this path does, and to what.
pub(super) fn asked(path: &str) -> (Action, Resource) {
    row(path).map_or((Change, Unlisted), |(_, action, resource)| (*action, *resource))
}

/// The full name of the method at this path, where it is one.
pub(super) fn method_at(path: &str) -> Option<&'static str> {
    row(path).map(|(path, _, _)| full_name(path))
}

/// The full name of the method that has this as its last part, such as `DeleteVm`.
pub(in crate::api) fn method_named(name: &str) -> Option<&'static str> {
    let mut names = METHODS.iter().map(|(path, _, _)| full_name(path));
    names.find(|full| full.rsplit('/').next() == Some(name))
}

fn full_name(path: &'static str) -> &'static str {
    path.trim_start_matches('/')
}

fn row(path: &str) -> Option<&'static (&'static str, Action, Resource)> {
    METHODS.iter().find(|(method, _, _)| *method == path)
}
