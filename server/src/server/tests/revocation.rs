//! A host that is shut out: at once, with every key that it had, until an operator lets it in
//! again.

use banger_proto::v1::vm_service_client::VmServiceClient;

use super::*;

/// How soon what is under way has to end.
const SOON: Duration = Duration::from_secs(1);

async fn joined_again(
    server: &RunningServer,
    host_id: &str,
    key: &KeyPair,
    address: SocketAddr,
) -> Result<v1::JoinHostResponse, tonic::Status> {
    let mut hosts = HostServiceClient::new(channel(server).await);
    let request =
        v1::CreateJoinTokenRequest { host_name: "alpha".to_owned(), ..Default::default() };
    let token = hosts.create_join_token(request).await.expect("a token").into_inner().token;
    let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let request = params.serialize_request(key).expect("a request");
    let request = v1::JoinHostRequest {
        token,
        name: "alpha".to_owned(),
        certificate_request_pem: request.pem().expect("as text"),
        agent_address: address.to_string(),
        host_id: host_id.to_owned(),
        ..v1::JoinHostRequest::default()
    };
    hosts.join_host(request).await.map(tonic::Response::into_inner)
}

async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let come = async {
        loop {
            if let Some(come) = so().await {
                return come;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, come).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_is_shut_out_at_once_with_its_key_and_let_in_with_another_by_an_operator() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = started(&directory).await;
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let id = host.agent.host_id.clone();
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("web")).await.expect("it is stored");
    let state = async |vms: &mut VmServiceClient<Channel>| {
        let request = v1::GetVmRequest { vm: "web".to_owned() };
        let vm = vms.get_vm(request).await.expect("it is there").into_inner();
        vm.status.expect("it has one")
    };
    until("it runs", async || {
        (state(&mut vms).await.state() == v1::VmState::Running).then_some(())
    })
    .await;

    let mut hosts = HostServiceClient::new(channel(&server).await);
    let long = v1::RevokeHostRequest {
        host: "alpha".to_owned(),
        reason: "x".repeat(257),
        ..Default::default()
    };
    let refused = hosts.revoke_host(long).await.expect_err("too long");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let revoke = v1::RevokeHostRequest {
        host: "alpha".to_owned(),
        reason: "its disk was stolen".to_owned(),
        ..Default::default()
    };
    let revoked = hosts.revoke_host(revoke.clone()).await.expect("shut out").into_inner();
    let ended = async {
        while host.agent.is_observed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, ended).await.expect("what was under way ends within a second");
    let status = revoked.status.expect("it has one");
    assert_eq!((status.state(), status.reason.as_str()), (v1::HostState::Revoked, "HOST_REVOKED"));
    assert!(status.message.contains("its disk was stolen"), "{}", status.message);
    assert_eq!(revoked.revocation.expect("it says so").reason, "its disk was stolen");
    let again = hosts.revoke_host(revoke).await.expect("it is shut out").into_inner();
    assert_eq!(again.etag, revoked.etag, "a repetition changes nothing");
    let web = state(&mut vms).await;
    assert_eq!((web.state(), web.reason.as_str()), (v1::VmState::Unknown, "HOST_REVOKED"));

    // A start of the server lets nobody in, and nothing is placed there.
    server.shutdown().await;
    server = started(&directory).await;
    vms = VmServiceClient::new(channel(&server).await);
    let there = server.view().hosts().remove(0);
    assert_eq!(there.view.health.reason, "HOST_REVOKED");
    assert_eq!(state(&mut vms).await.reason, "HOST_REVOKED");
    vms.create_vm(create("later")).await.expect("it is stored");
    let later = v1::GetVmRequest { vm: "later".to_owned() };
    let later = vms.get_vm(later).await.expect("it is there").into_inner();
    assert_eq!(later.status.expect("it has one").state(), v1::VmState::Pending);
    assert!(!host.agent.is_observed(), "it is not dialled");

    // Not with the key that it had, though an operator has made a token.
    let old = host.agent.certificate.key();
    let refused = joined_again(&server, &id, &old, host.address).await.expect_err("its old key");
    assert!(refused.message().contains("revoked"), "{refused:?}");
    let new = KeyPair::generate().expect("a key");
    let joined = joined_again(&server, &id, &new, host.address).await.expect("an operator's word");
    host.agent.certificate.show(&joined.certificate_pem, &new.serialize_pem());
    until_online(&server).await;
    until("it is seen again", async || {
        (state(&mut vms).await.state() == v1::VmState::Running).then_some(())
    })
    .await;
    // And never again with the old one, also where nobody knows the host any more.
    let mut hosts = HostServiceClient::new(channel(&server).await);
    for vm in ["web", "later"] {
        let delete = v1::DeleteVmRequest { vm: vm.to_owned(), ..Default::default() };
        vms.delete_vm(delete).await.expect("it goes");
    }
    until("the host is empty", async || {
        let delete = v1::DeleteHostRequest { host: "alpha".to_owned(), ..Default::default() };
        hosts.delete_host(delete).await.ok()
    })
    .await;
    let refused = joined_again(&server, "", &old, host.address).await.expect_err("its old key");
    assert!(refused.message().contains("revoked"), "{refused:?}");
    server.shutdown().await;
}
