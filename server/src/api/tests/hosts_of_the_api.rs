//! Joining, and what can be done with a host.

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::model::host::HostState;

fn certificate_request(key: &KeyPair) -> String {
    let params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.serialize_request(key).expect("signed").pem().expect("PEM")
}

impl Fixture {
    async fn token(&self, host_name: &str) -> String {
        let host_name = host_name.to_owned();
        let request = v1::CreateJoinTokenRequest { host_name, ..Default::default() };
        self.hosts.create_join_token(asked(request)).await.expect("made").into_inner().token
    }

    async fn join(
        &self,
        token: &str,
        name: &str,
        key: &KeyPair,
    ) -> Result<v1::JoinHostResponse, Status> {
        let request = v1::JoinHostRequest {
            token: token.to_owned(),
            name: name.to_owned(),
            certificate_request_pem: certificate_request(key),
            agent_address: "192.0.2.7:7072".to_owned(),
            ..Default::default()
        };
        self.hosts.join_host(asked(request)).await.map(Response::into_inner)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

#[tokio::test]
async fn a_host_joins_once_by_its_token_and_gets_a_certificate_of_our_ca() {
    let fixture = fixture().await;
    let token = fixture.token("").await;
    assert!(token.ends_with(&hex::encode(fixture.api.cas.load().signing().fingerprint())));
    let key = key();
    let joined = fixture.join(&token, "one", &key).await.expect("joined");
    assert_eq!(joined.guest_subnet, "10.64.0.0/20");
    assert_eq!(joined.ca_certificate_pem, fixture.api.cas.load().trusted_pem());
    assert!(joined.certificate_pem.contains("BEGIN CERTIFICATE"));
    let again = fixture.join(&token, "one", &key).await.expect("the same key may repeat it");
    assert_eq!(again.host_id, joined.host_id);
    let host = fixture.api.view.hosts().remove(0);
    assert_eq!(host.view.record.generation, 1, "a repetition changes nothing");
    for name in ["one", "two"] {
        let refused = fixture.join(&token, name, &self::key()).await.expect_err("used");
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::Unauthenticated, "JOIN_TOKEN_INVALID")
        );
    }
    let token = fixture.token("").await;
    let taken = fixture.join(&token, "one", &self::key()).await.expect_err("taken");
    assert_eq!((taken.code(), &*reason(&taken)), (Code::AlreadyExists, "HOST_NAME_TAKEN"));
}

#[tokio::test]
async fn all_problems_of_a_join_are_listed_at_once_after_its_token() {
    let fixture = fixture().await;
    let request = v1::JoinHostRequest {
        token: "garbage".to_owned(),
        name: "../one".to_owned(),
        certificate_request_pem: "garbage".to_owned(),
        agent_address: "0.0.0.0:7072".to_owned(),
        used_networks: Vec::new(),
        host_id: "no".to_owned(),
        ..v1::JoinHostRequest::default()
    };
    let refused = fixture.hosts.join_host(asked(request.clone())).await.expect_err("a token");
    assert_eq!(reason(&refused), "JOIN_TOKEN_INVALID");
    let request = v1::JoinHostRequest { token: fixture.token("").await, ..request };
    let refused = fixture.hosts.join_host(asked(request)).await.expect_err("the rest");
    assert_eq!(fields(&refused), ["name", "certificate_request_pem", "agent_address", "host_id"]);
}

#[tokio::test]
async fn a_joining_host_gets_a_subnet_that_its_machine_does_not_use() {
    let fixture = fixture().await;
    let used = ["10.64.0.0/24", "10.64.19.7/32", "192.0.2.0/24"].map(str::to_owned).to_vec();
    let request = v1::JoinHostRequest {
        token: fixture.token("").await,
        name: "one".to_owned(),
        certificate_request_pem: certificate_request(&key()),
        agent_address: "192.0.2.7:7072".to_owned(),
        used_networks: used,
        ..Default::default()
    };
    let nonsense = v1::JoinHostRequest {
        used_networks: vec!["10.64.0.0/24".to_owned(), "nonsense".to_owned()],
        ..request.clone()
    };
    let refused = fixture.hosts.join_host(Request::new(nonsense)).await.expect_err("no network");
    assert_eq!(fields(&refused), ["used_networks[1]"]);
    let joined = fixture.hosts.join_host(Request::new(request)).await.expect("joined");
    assert_eq!(joined.into_inner().guest_subnet, "10.64.32.0/20");
}

#[tokio::test]
async fn a_joining_host_chooses_no_labels_and_gets_those_of_its_token() {
    let fixture = fixture().await;
    let labels = |zone: &str| [("zone".to_owned(), zone.to_owned())].into();
    let bad = v1::CreateJoinTokenRequest {
        labels: [("bad key".to_owned(), String::new())].into(),
        ..Default::default()
    };
    let refused = fixture.hosts.create_join_token(asked(bad)).await.expect_err("no label");
    assert_eq!(fields(&refused), [r#"labels["bad key"]"#]);
    for (name, of_token) in [("one", Some("a")), ("two", None)] {
        let request = v1::CreateJoinTokenRequest {
            labels: of_token.map(labels).unwrap_or_default(),
            ..Default::default()
        };
        let made = fixture.hosts.create_join_token(asked(request)).await.expect("made");
        let request = v1::JoinHostRequest {
            token: made.into_inner().token,
            name: name.to_owned(),
            certificate_request_pem: certificate_request(&key()),
            agent_address: "192.0.2.7:7072".to_owned(),
            labels: labels("secrets"),
            ..Default::default()
        };
        let joined = fixture.hosts.join_host(asked(request)).await.expect("joined");
        assert_eq!(joined.into_inner().labels, of_token.map(labels).unwrap_or_default(), "{name}");
    }
}

#[tokio::test]
async fn a_join_token_has_a_short_life() {
    let fixture = fixture().await;
    for seconds in [0, 59, 86_401, -1, i64::MIN] {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        let request =
            v1::CreateJoinTokenRequest { ttl, host_name: "-x".to_owned(), ..Default::default() };
        let refused = fixture.hosts.create_join_token(asked(request)).await;
        assert_eq!(
            fields(&refused.expect_err("out of range")),
            ["ttl", "host_name"],
            "{seconds} s"
        );
    }
}

#[tokio::test]
async fn a_host_can_be_read_changed_cordoned_and_deleted() {
    let fixture = fixture().await;
    let joined = fixture.join(&fixture.token("").await, "one", &key()).await.expect("joined");
    let get = async |host: &str| {
        let request = v1::GetHostRequest { host: host.to_owned() };
        fixture.hosts.get_host(asked(request)).await.map(Response::into_inner)
    };
    let host = get("one").await.expect("by name");
    assert_eq!(get(&joined.host_id).await.expect("by id"), host);
    assert_eq!(host.status.as_ref().expect("there").state(), v1::HostState::Connecting);
    let update = v1::UpdateHostRequest {
        host: "one".to_owned(),
        etag: host.etag.clone(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        agent_address: "host.example:7072".to_owned(),
        ..Default::default()
    };
    let updated = fixture.hosts.update_host(asked(update.clone())).await.expect("changed");
    assert_eq!(updated.get_ref().labels.len(), 1);
    let stale = fixture.hosts.update_host(asked(update)).await.expect_err("stale");
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
    let cordon = v1::CordonHostRequest { host: "one".to_owned(), ..Default::default() };
    let cordoned = fixture.hosts.cordon_host(asked(cordon)).await.expect("cordoned");
    assert!(cordoned.get_ref().cordoned);
    let delete = v1::DeleteHostRequest { host: "one".to_owned(), ..Default::default() };
    let gone = fixture.hosts.delete_host(asked(delete.clone())).await.expect("deleted");
    assert_eq!(gone.get_ref().id, joined.host_id);
    assert_eq!(reason(&get("one").await.expect_err("gone")), "HOST_NOT_FOUND");
    let missing = fixture.hosts.delete_host(asked(delete.clone())).await.expect_err("gone");
    assert_eq!(reason(&missing), "HOST_NOT_FOUND");
    let allowed = v1::DeleteHostRequest { allow_missing: true, ..delete };
    fixture.hosts.delete_host(asked(allowed)).await.expect("allowed");
}

#[tokio::test]
async fn hosts_are_listed_a_page_at_a_time() {
    let fixture = fixture().await;
    for name in ["a", "b", "c"] {
        fixture.join(&fixture.token("").await, name, &key()).await.expect("joined");
    }
    let mut request = v1::ListHostsRequest { page_size: 2, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = fixture.hosts.list_hosts(asked(request.clone())).await.expect("a page");
        let page = page.into_inner();
        names.extend(page.hosts.into_iter().map(|host| host.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let none = v1::ListHostsRequest { label_selector: "zone=x".to_owned(), ..Default::default() };
    let none = fixture.hosts.list_hosts(asked(none)).await.expect("a page");
    assert!(none.get_ref().hosts.is_empty());
}

#[tokio::test]
async fn a_named_host_that_can_not_take_the_vm_is_refused_with_the_reason() {
    let fixture = fixture().await;
    let joined = fixture.join(&fixture.token("").await, "one", &key()).await.expect("joined");
    let id = joined.host_id.parse().expect("an id");
    let on = |host: &str, memory_mib| {
        let placement = Some(v1::Placement { host: host.to_owned(), ..Default::default() });
        let spec = spec().map(|spec| v1::VmSpec { placement, memory_mib, ..spec });
        fixture.create(v1::CreateVmRequest { spec, ..named("") })
    };
    let unseen = on("one", 0).await.expect_err("not seen yet");
    assert_eq!((unseen.code(), &*reason(&unseen)), (Code::Unavailable, "HOST_UNSUITABLE"));
    assert_eq!(reason(&on("two", 0).await.expect_err("no such host")), "HOST_NOT_FOUND");
    let room = Resources { vcpus: 1, memory_mib: 512, disk_mib: 1 << 20, guests: 1023 };
    fixture.api.store.set_capacity(id, Some(room), true);
    let full = on("one", 1024).await.expect_err("too large");
    assert_eq!((full.code(), &*reason(&full)), (Code::FailedPrecondition, "HOST_UNSUITABLE"));
    let placed = on("one", 512).await.expect("fits");
    let status = placed.status.expect("there");
    assert_eq!((&*status.host_name, &*status.guest_address), ("one", "10.64.0.2"));
    assert_eq!(status.state(), v1::VmState::Unknown, "nothing is known before the inventory");
    let host = fixture.api.view.host(id).expect("there");
    assert_eq!((host.vm_count, host.view.health.state), (1, HostState::Connecting));
}

impl Fixture {
    async fn inventory(&self, host: &str) -> Status {
        let request = v1::GetHostInventoryRequest { host: host.to_owned(), ..Default::default() };
        self.hosts.get_host_inventory(asked(request)).await.expect_err("nobody is there")
    }

    async fn sweep(&self, host: &str) -> Status {
        let request =
            v1::SweepHostRequest { host: host.to_owned(), dry_run: false, ..Default::default() };
        self.hosts.sweep_host(asked(request)).await.expect_err("nobody is there")
    }
}

#[tokio::test]
async fn a_host_that_is_not_reached_has_no_inventory_and_its_sweep_is_not_written_down() {
    let fixture = fixture().await;
    let token = fixture.token("").await;
    let joined = fixture.join(&token, "one", &key()).await.expect("joined");
    for status in [fixture.inventory("one").await, fixture.sweep("one").await] {
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::Unavailable, "HOST_UNREACHABLE"),
            "{status:?}"
        );
        assert!(status.message().contains("host one"), "{status:?}");
    }
    let host = joined.host_id.parse().expect("an id");
    assert_eq!(fixture.api.store.host_sweeps(host, 10).await.expect("is read"), []);
    for status in [fixture.inventory("two").await, fixture.sweep("two").await] {
        assert_eq!((status.code(), &*reason(&status)), (Code::NotFound, "HOST_NOT_FOUND"));
    }
    for status in [fixture.inventory("../x").await, fixture.sweep("").await] {
        assert_eq!(fields(&status), ["host"]);
    }
}
