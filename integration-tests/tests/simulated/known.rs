//! A caller with a token of the least kind, a viewer's, who means harm.
//!
//! Whoever is known may have more of the server than a stranger, and never what others need: they
//! are answered meanwhile, the server stays small, and the token can be taken back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::v1;
use banger_proto::v1::project_service_client::ProjectServiceClient;
use banger_proto::v1::token_service_client::TokenServiceClient;
use prost::bytes::Bytes;

use super::bound::peak;
use super::stranger::Stranger;

const ADMIN: &str = "0123456789abcdef0123456789abcdef";

const GET_IMAGE: &str = "/banger.v1.ImageService/GetImage";
const LIST: &str = "/banger.v1.VmService/ListVms";
const WATCH: &str = "/banger.v1.VmService/WatchVms";

/// How much the server may grow by one project's callers, in KiB: 32 MiB of requests or answers on
/// their way, what is made of one while it is encoded, and what each call costs besides.
const GROWTH_KIB: u64 = 128 * 1024;

/// A fleet that asks for tokens, with two projects.
struct Tenants {
    fleet: Fleet,
    /// An attacker of one project.
    viewer: String,
    /// Of the same project.
    admin: String,
    /// Of the other one.
    neighbour: String,
    /// An attacker who sees the whole fleet.
    of_fleet: String,
    _dir: tempfile::TempDir,
}

fn with<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {token}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

impl Tenants {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("tokens");
        std::fs::write(&file, format!("ops {ADMIN}\n")).expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
        let config = format!("[auth]\ntoken_file = {:?}\n", file.display().to_string());
        let fleet = Fleet::with_config(&config).await;
        let mut projects = ProjectServiceClient::new(fleet.channel());
        for name in ["shop", "other"] {
            let request = v1::CreateProjectRequest { name: name.to_owned(), ..Default::default() };
            projects.create_project(with(ADMIN, request)).await.expect("is made");
        }
        let token = async |project: &str, name: &str, role: v1::Role| {
            let request = v1::CreateTokenRequest {
                name: name.to_owned(),
                role: role.into(),
                project: project.to_owned(),
                ..Default::default()
            };
            let mut tokens = TokenServiceClient::new(fleet.channel());
            let made = tokens.create_token(with(ADMIN, request)).await.expect("is made");
            made.into_inner().secret
        };
        let viewer = token("shop", "eve", v1::Role::Viewer).await;
        let admin = token("shop", "ann", v1::Role::Admin).await;
        let neighbour = token("other", "bob", v1::Role::Viewer).await;
        let of_fleet = token("", "mallory", v1::Role::Viewer).await;
        Self { viewer, admin, neighbour, of_fleet, _dir: dir, fleet }
    }

    /// VMs whose list has about a megabyte.
    async fn create_many(&self) {
        const MANY: usize = 450;
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..MANY {
            let mut request = create(&format!("vm-{n}"));
            request.spec.get_or_insert_default().boot_args = "a".repeat(1500);
            let mut vms = self.fleet.vms();
            calls.spawn(async move { vms.create_vm(with(ADMIN, request)).await });
        }
        while let Some(made) = calls.join_next().await {
            made.expect("no panic").expect("is made");
        }
    }

    /// Others are answered at once: of the fleet, of another project, and the attacker's admin.
    async fn others_are_served(&self) {
        let ask = |token: &str| {
            let request = v1::ListVmsRequest { page_size: 1, ..Default::default() };
            let (mut vms, request) = (self.fleet.vms(), with(token, request));
            async move {
                let listed = vms.list_vms(request);
                let listed = tokio::time::timeout(Duration::from_secs(60), listed).await;
                listed.expect("in time").expect("lists");
            }
        };
        for token in [ADMIN, &self.neighbour, &self.admin] {
            ask(token).await;
        }
    }

    /// An admin takes back the token of this name, and whoever has it is shut out.
    async fn shut_out(&self, by: &str, name: &str, token: &str) {
        let request = v1::RevokeTokenRequest { token: name.to_owned(), ..Default::default() };
        let mut tokens = TokenServiceClient::new(self.fleet.channel());
        let taken = tokens.revoke_token(with(by, request));
        let taken = tokio::time::timeout(Duration::from_secs(60), taken).await;
        taken.expect("in time").expect("is taken back");
        let mut vms = self.fleet.vms();
        let refused = vms.list_vms(with(token, v1::ListVmsRequest::default())).await;
        assert_eq!(refused.expect_err("gone").code(), tonic::Code::Unauthenticated);
    }
}

/// The prefix of a message of this length, and so much of the message itself.
fn begun(length: u32, of_it: usize) -> Bytes {
    [&[0][..], &length.to_be_bytes(), &vec![b'x'; of_it]].concat().into()
}

fn whole(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("small");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

#[tokio::test]
async fn bound_requests_of_one_project_that_never_end_shut_nobody_out() {
    let tenants = Tenants::new().await;
    tenants.others_are_served().await;
    let before = peak(tenants.fleet.server_pid());
    let mut attackers = Vec::new();
    // First announcements alone, which cost the attacker nothing; then messages but for their ends.
    for (length, of_it) in [(1_100_000, 0), (250_000, 0), (250_000, 200_000)] {
        for _ in 0..20 {
            let mut attacker = Stranger::known(tenants.fleet.api(), &tenants.viewer, 65_535).await;
            for _ in 0..15 {
                attacker.call(GET_IMAGE, &begun(length, of_it), false).await;
            }
            attackers.push(attacker);
        }
        // What is left, to the last byte.
        let mut attacker = Stranger::known(tenants.fleet.api(), &tenants.viewer, 65_535).await;
        for power in (0..=20).rev().flat_map(|power| [power, power]) {
            attacker.call(GET_IMAGE, &begun(1 << power, 0), false).await;
        }
        attackers.push(attacker);
        tenants.others_are_served().await;
    }
    let mut refused = 0;
    for attacker in &mut attackers[42..] {
        refused += attacker.answered().await.len();
    }
    assert!(refused > 0, "of 60 MB of messages all were taken");
    tenants.others_are_served().await;
    let grown = peak(tenants.fleet.server_pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB");
    tenants.shut_out(&tenants.admin, "eve", &tenants.viewer).await;
}

#[tokio::test]
async fn bound_answers_that_a_caller_with_a_token_leaves_unread_hold_little() {
    let tenants = Tenants::new().await;
    tenants.create_many().await;
    tenants.others_are_served().await;
    let list = whole(&v1::ListVmsRequest { page_size: 1000, ..Default::default() });
    let watch = whole(&v1::WatchVmsRequest::default());
    let before = peak(tenants.fleet.server_pid());
    let mut attackers = Vec::new();
    // Some let no byte of an answer come, others one.
    for (path, request) in [(LIST, &list), (WATCH, &watch)] {
        for window in [0, 1] {
            for _ in 0..2 {
                let mut attacker =
                    Stranger::known(tenants.fleet.api(), &tenants.of_fleet, window).await;
                for _ in 0..100 {
                    attacker.call(path, request, true).await;
                }
                attackers.push(attacker);
            }
            tenants.others_are_served().await;
        }
    }
    let grown = peak(tenants.fleet.server_pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB");
    tenants.shut_out(ADMIN, "mallory", &tenants.of_fleet).await;
}
