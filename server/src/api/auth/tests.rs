use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::clock::SystemClock;
use crate::model::access::Action;
use crate::model::caller::{ProjectRole, Rights};
use crate::model::project::ProjectName;

/// Method paths of every service of this package in a descriptor set.
fn methods(descriptors: &[u8], package: &str) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptors).expect("descriptors");
    set.file
        .iter()
        .filter(|file| file.package() == package)
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            let service_name = service.name().to_owned();
            service
                .method
                .iter()
                .map(move |method| format!("/{package}.{service_name}/{}", method.name()))
        })
        .collect()
}

/// Everything that the listener of the API serves.
fn served() -> Vec<String> {
    let sets = [
        (banger_proto::FILE_DESCRIPTOR_SET, "banger.v1"),
        (tonic_health::pb::FILE_DESCRIPTOR_SET, "grpc.health.v1"),
        (tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, "grpc.reflection.v1"),
        (tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET, "grpc.reflection.v1alpha"),
    ];
    let methods = sets.into_iter().flat_map(|(descriptors, package)| {
        let found = methods(descriptors, package);
        assert!(!found.is_empty(), "{package}");
        found
    });
    methods.collect()
}

#[test]
fn every_method_that_is_served_says_what_it_does_to_what() {
    let served = served();
    assert!(served.len() > 40, "{served:?}");
    for method in &served {
        let rows = METHODS.iter().filter(|(path, _, _)| path == method).count();
        assert_eq!(rows, 1, "{method} must be in METHODS once");
    }
    // The descriptors of health lack a method that its service has.
    for (path, _, _) in METHODS.iter().filter(|(path, _, _)| path.starts_with("/banger.")) {
        assert!(served.iter().any(|method| method == path), "{path} is no method");
    }
    assert_eq!(asked("/something/Else"), (Action::Change, Resource::Unlisted));
}

/// Methods of banger's own whose answer or request lasts, by the descriptors.
fn lasting() -> Vec<String> {
    let set = FileDescriptorSet::decode(banger_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let files = set.file.iter().filter(|file| file.package() == "banger.v1");
    files
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(move |method| (service, method)))
        .filter(|(_, method)| method.client_streaming() || method.server_streaming())
        .map(|(service, method)| format!("/banger.v1.{}/{}", service.name(), method.name()))
        .collect()
}

#[test]
fn every_method_that_lasts_is_counted_as_a_watch_or_a_stream() {
    let counted: Vec<&str> = parties::WATCHES.into_iter().chain(parties::STREAMS).collect();
    for path in lasting() {
        let kinds = counted.iter().filter(|counted| **counted == path).count();
        assert_eq!(kinds, 1, "{path} must be in WATCHES or STREAMS");
    }
    for path in counted {
        assert!(method_at(path).is_some(), "{path} is no method");
    }
}

/// An answer that never ends.
struct Endless;

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_call_that_lasts_has_its_place_until_its_answer_is_given_up() {
    let layer = with_tokens();
    let rights = Rights::Project(ProjectName::parse("shop").expect("a label"), ProjectRole::Viewer);
    let shop = Principal { name: "shop/ann".into(), rights };
    layer.admit(&[(TOKEN.to_owned(), shop)].into());
    layer.bound_projects(ProjectBounds { watches: 2, ..ProjectBounds::default() });
    let call = async |path: &str| {
        let answer = async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::new(Endless)));
        let service = layer.layer(service_fn(answer));
        let request =
            Request::builder().uri(path).header("authorization", format!("Bearer {TOKEN}"));
        service.oneshot(request.body(()).expect("a request")).await.expect("answers")
    };
    let code = |answer: &Response<Body>| {
        answer.headers().get("grpc-status").map(|code| code.to_str().expect("a number").to_owned())
    };
    let watch = "/banger.v1.VmService/WatchVms";
    let mut open = vec![call(watch).await, call("/banger.v1.VmService/WaitVm").await];
    assert_eq!(open.iter().map(code).collect::<Vec<_>>(), [None, None]);
    assert_eq!(code(&call(watch).await).as_deref(), Some("8"), "RESOURCE_EXHAUSTED");
    assert_eq!(code(&call("/banger.v1.VmService/GetVm").await), None, "which does not last");
    open.pop();
    assert_eq!(code(&call(watch).await), None, "one was given up");
}

#[test]
fn only_a_join_health_and_reflection_need_no_token() {
    let open = METHODS.iter().filter(|(_, _, resource)| *resource == Resource::Door);
    let open: Vec<&str> = open.map(|(path, _, _)| *path).collect();
    assert_eq!(
        open,
        [
            "/banger.v1.HostService/JoinHost",
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/List",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ]
    );
}

fn caller(grants: Grants) -> Caller {
    Caller { actor: "eve".into(), grants, ..crate::model::fixtures::caller() }
}

#[test]
fn each_role_may_call_what_the_table_says() {
    let shop = ProjectName::parse("shop").expect("a label");
    let columns: Vec<(&str, Caller)> = std::iter::once(("nobody", caller(Grants::Open)))
        .chain(Role::ALL.map(|role| (role.as_str(), caller(Grants::fleet(role)))))
        .chain(ProjectRole::ALL.map(|role| {
            let word = ["p:view", "p:devel", "p:admin"][role as usize];
            (word, caller(Grants::To(Rights::Project(shop.clone(), role))))
        }))
        .collect();
    let foreign = ProjectName::parse("lab").expect("a label");
    let mut table = format!("{:64}", "method");
    for (name, _) in &columns {
        table.push_str(&format!(" {name:8}"));
    }
    table.push_str(" p:foreign");
    for (path, action, resource) in METHODS {
        table.push_str(&format!("\n{path:64}"));
        for (_, caller) in &columns {
            let may = authorize(caller, *action, *resource, Of::Any);
            table.push_str(if may.is_ok() { " yes     " } else { " -       " });
        }
        // What is another project's, to whatever role of one: it is as what is missing.
        let of_foreign = columns.iter().filter(|(_, caller)| caller.only().is_some());
        let of_foreign: Vec<_> = of_foreign
            .map(|(_, caller)| authorize(caller, *action, *resource, Of::Project(&foreign)))
            .map(|may| match may {
                Ok(()) => "yes",
                Err(Refused::NotThere) => "missing",
                Err(_) => "-",
            })
            .collect();
        assert!(of_foreign.iter().all(|word| *word == of_foreign[0]), "{path}: {of_foreign:?}");
        table.push_str(&format!(" {}", of_foreign[0]));
    }
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

fn layer(loopback: bool) -> AuthLayer {
    AuthLayer::new(loopback, Arc::new(SystemClock))
}

const TOKEN: &str = "0123456789abcdef";
/// W3C trace context of every request.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const VIEWER: &str = "viewer-viewer-viewer";

fn principal(name: &str, role: Role) -> Principal {
    Principal { name: name.into(), rights: Rights::Fleet(role) }
}

/// Who the service behind the layer saw, or the gRPC code of the refusal.
async fn call(
    layer: &AuthLayer,
    path: &str,
    authorization: Option<&str>,
) -> Result<String, String> {
    seen(layer, path, authorization).await.map(|caller| caller.actor.to_string())
}

/// The caller that the service behind the layer saw, or the gRPC code of the refusal.
async fn seen(
    layer: &AuthLayer,
    path: &str,
    authorization: Option<&str>,
) -> Result<Caller, String> {
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let caller = request.extensions().get::<Caller>().expect("identified").clone();
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(caller);
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::builder().uri(path).header(trace::TRACEPARENT, TRACE);
    // As many headers as lines.
    for authorization in authorization.into_iter().flat_map(str::lines) {
        request = request.header("authorization", authorization);
    }
    let response = service.oneshot(request.body(()).expect("a request")).await.expect("answers");
    assert_eq!(response.status(), StatusCode::OK, "gRPC refuses in headers");
    match response.headers().get("grpc-status") {
        None => Ok(response.extensions().get::<Caller>().expect("let in").clone()),
        Some(code) => Err(code.to_str().expect("a number").to_owned()),
    }
}

fn with_tokens() -> AuthLayer {
    let tokens = [
        (TOKEN, "alice", Role::Admin),
        ("fedcba9876543210", "bob", Role::Operator),
        (VIEWER, "eve", Role::Viewer),
    ];
    let tokens = tokens.map(|(token, name, role)| (token.to_owned(), principal(name, role))).into();
    let layer = layer(true);
    layer.admit(&tokens);
    layer
}

#[tokio::test]
async fn a_known_token_says_who_calls() {
    let layer = with_tokens();
    let path = "/banger.v1.VmService/CreateVm";
    for (authorization, who) in
        [("Bearer 0123456789abcdef", "alice"), ("bearer fedcba9876543210", "bob")]
    {
        assert_eq!(call(&layer, path, Some(authorization)).await, Ok(who.to_owned()));
    }
}

#[tokio::test]
async fn without_a_token_or_with_a_wrong_one_every_guarded_method_is_refused() {
    let layer = with_tokens();
    let wrong = [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong"),
        Some("Bearer 0123456789abcde"),
        Some("Bearer 0123456789abcdeff"),
        Some("Basic 0123456789abcdef"),
        Some(TOKEN),
    ];
    let guarded = METHODS.iter().filter(|(_, _, resource)| *resource != Resource::Door);
    let guarded = guarded.map(|(path, _, _)| *path);
    for path in guarded.chain(["/unknown/Method"]) {
        for authorization in wrong {
            let refused = call(&layer, path, authorization).await;
            assert_eq!(refused, Err("16".to_owned()), "{path} {authorization:?}: UNAUTHENTICATED");
        }
    }
}

#[tokio::test]
async fn a_call_with_two_tokens_is_malformed_whichever_of_them_is_good() {
    let good = format!("Bearer {TOKEN}");
    let of_other = format!("Bearer {VIEWER}");
    for layer in [with_tokens(), layer(true)] {
        for (path, _, _) in METHODS {
            for other in [&good, &of_other, "Bearer wrong", "Basic x", "-"] {
                for two in [format!("{good}\n{other}"), format!("{other}\n{good}")] {
                    let refused = call(&layer, path, Some(&two)).await;
                    assert_eq!(refused, Err("3".to_owned()), "{path} {two:?}: INVALID_ARGUMENT");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_header_with_two_tokens_is_malformed_too() {
    // As whatever stands before the server may join two headers.
    for layer in [with_tokens(), layer(true)] {
        for (first, second) in [(TOKEN, VIEWER), (VIEWER, TOKEN), (TOKEN, TOKEN), ("x", TOKEN)] {
            for joint in [", Bearer ", ",Bearer ", ", ", " ", "\t"] {
                let two = format!("Bearer {first}{joint}{second}");
                let refused = call(&layer, "/banger.v1.VmService/GetVm", Some(&two)).await;
                assert_eq!(refused, Err("3".to_owned()), "{two:?}: INVALID_ARGUMENT");
            }
        }
    }
}

#[tokio::test]
async fn open_methods_need_no_token() {
    let layer = with_tokens();
    for (path, _, _) in METHODS.iter().filter(|(_, _, resource)| *resource == Resource::Door) {
        assert_eq!(call(&layer, path, None).await, Ok("local".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn without_configured_tokens_everybody_who_reaches_the_listener_is_let_in() {
    let path = "/banger.v1.VmService/CreateVm";
    assert_eq!(call(&layer(true), path, None).await, Ok("local".to_owned()));
    let open = layer(false);
    assert_eq!(call(&open, path, Some("Bearer x")).await, Ok("anonymous".to_owned()));
}

#[tokio::test]
async fn the_layer_makes_the_caller_with_grants_trace_and_time() {
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("in range");
    let layer = AuthLayer::new(true, Arc::new(crate::clock::ManualClock::at(now)));
    layer.admit(&[(TOKEN.to_owned(), principal("alice", Role::Operator))].into());
    let alice = seen(&layer, "/banger.v1.VmService/CreateVm", Some("Bearer 0123456789abcdef"));
    let alice = alice.await.expect("let in");
    assert_eq!(&*alice.actor, "alice");
    assert_eq!(alice.grants, Grants::fleet(Role::Operator));
    let joining = seen(&layer, "/banger.v1.HostService/JoinHost", None).await.expect("let in");
    assert_eq!((&*joining.actor, &joining.grants), ("local", &Grants::Open));
    for caller in [alice, joining] {
        assert_eq!((caller.at, &*caller.trace), (now, TRACE));
    }
}

#[tokio::test]
async fn a_role_that_does_not_do_is_refused_before_the_method_is_reached() {
    let layer = with_tokens();
    let viewer = format!("Bearer {VIEWER}");
    for (path, action, resource) in METHODS {
        let outcome = call(&layer, path, Some(&viewer)).await;
        match authorize(&caller(Grants::fleet(Role::Viewer)), *action, *resource, Of::Any) {
            Ok(()) => assert_eq!(outcome, Ok("eve".to_owned()), "{path}"),
            Err(_) => assert_eq!(outcome, Err("7".to_owned()), "{path}: PERMISSION_DENIED"),
        }
    }
    assert_eq!(call(&layer, "/unknown/Method", Some(&viewer)).await, Err("7".to_owned()));
    let admin = format!("Bearer {TOKEN}");
    assert_eq!(call(&layer, "/unknown/Method", Some(&admin)).await, Ok("alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_project_that_calls_without_end_keeps_nobody_else_from_calling() {
    let of = |project: &str| {
        let project = ProjectName::parse(project).expect("a label");
        Rights::Project(project, ProjectRole::Developer)
    };
    let tokens = [
        ("shop-ann-0123456789", "shop/ann", of("shop")),
        ("shop-bob-0123456789", "shop/bob", of("shop")),
        ("lab-eve-01234567890", "lab/eve", of("lab")),
        (TOKEN, "alice", Rights::Fleet(Role::Viewer)),
    ];
    let tokens = tokens
        .map(|(token, name, rights)| (token.to_owned(), Principal { name: name.into(), rights }));
    let layer = layer(true);
    layer.admit(&tokens.into());
    let bound = |calls_per_second| ProjectBounds { calls_per_second, ..ProjectBounds::default() };
    layer.bound_projects(bound(2));
    let path = "/banger.v1.VmService/ListVms";
    let let_in =
        async |token: &str| call(&layer, path, Some(&format!("Bearer {token}"))).await.map(drop);
    const TOO_MANY: &str = "8";
    for _ in 0..10 {
        assert_eq!(let_in("shop-ann-0123456789").await, Ok(()));
        assert_eq!(let_in("shop-bob-0123456789").await, Ok(()));
    }
    for token in ["shop-ann-0123456789", "shop-bob-0123456789"] {
        assert_eq!(let_in(token).await, Err(TOO_MANY.to_owned()), "{token}: they are one party");
    }
    for _ in 0..20 {
        assert_eq!(let_in("lab-eve-01234567890").await, Ok(()));
    }
    let refused = "/banger.v1.HostService/CordonHost";
    let outcome = call(&layer, refused, Some("Bearer lab-eve-01234567890")).await.map(drop);
    assert_eq!(outcome, Err(TOO_MANY.to_owned()), "what is refused them counts as well");
    for _ in 0..100 {
        assert_eq!(let_in(TOKEN).await, Ok(()), "of the fleet");
    }
    tokio::time::advance(std::time::Duration::from_millis(500)).await;
    assert_eq!(let_in("shop-ann-0123456789").await, Ok(()));
    assert_eq!(let_in("shop-ann-0123456789").await, Err(TOO_MANY.to_owned()));
    layer.bound_projects(bound(0));
    assert_eq!(let_in("shop-ann-0123456789").await, Ok(()), "nothing bounds them");
}
