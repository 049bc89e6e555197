//! Claims about connecting, refusals, idempotent creates and waits, over real connections.

use std::time::Duration;

use banger_client::v1::*;
use banger_client::{Client, ClientError, Endpoint, ReachProblem, WaitFor};
use tonic::Code;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::proxy::Proxy;
use banger_fake_server::{self as fake, Running};

pub(crate) async fn client(server: &Running) -> Client {
    Client::connect(&Endpoint::new(&server.url()).unwrap()).await.unwrap()
}

pub(crate) fn wanted(name: &str) -> CreateVmRequest {
    let kernel = Some(ImageRef { name: "k".to_owned(), sha256: String::new() });
    CreateVmRequest {
        name: name.to_owned(),
        request_id: format!("0192f0c1-0000-7000-8000-{:0>12}", name.len()),
        spec: Some(VmSpec { kernel, vcpus: 1, memory_mib: 256, ..VmSpec::default() }),
        ..CreateVmRequest::default()
    }
}

/// Waits until something is so, and says what it waited for when it never is.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.unwrap_or_else(|_| panic!("it never happened: {what}"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_in_one_line_with_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let error = Client::connect(&Endpoint::new(&url).unwrap()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { problem: ReachProblem::Refused, .. }),
        "{error:?}"
    );
    assert_eq!(error.to_string(), format!("cannot reach the server at {url}: connection refused"));
    assert!(error.advice().contains("banger dev"), "{}", error.advice());
}

#[tokio::test]
async fn a_lazy_client_says_the_same_at_its_first_call() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let client = Client::connect_lazy(&Endpoint::new(&url).unwrap()).unwrap();
    let error = client.vms().get("web").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { problem: ReachProblem::Refused, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said_as_such() {
    let endpoint = Endpoint::new("http://no-such-name.invalid:1").unwrap();
    let error = Client::connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { problem: ReachProblem::UnknownName, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_of_another_kind_is_not_taken_for_ours() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            let _ = stream.read(&mut some).await;
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let endpoint = Endpoint::new(&url).unwrap();
    let error = match Client::connect(&endpoint).await {
        Ok(client) => client.vms().get("web").await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(&error, ClientError::NotBanger { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = Endpoint::new(&url).unwrap().deadline(Duration::from_millis(300));
    let client = Client::connect(&endpoint).await.unwrap();
    let error = client.vms().get("web").await.unwrap_err();
    assert!(matches!(&error, ClientError::NoAnswer { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("no answer from {url} to GetVm within 300ms"));
}

#[tokio::test]
async fn https_to_a_server_without_tls_says_that_it_has_none() {
    let server = fake::start();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let endpoint = Endpoint::new(&format!("https://{}", server.address))
        .unwrap()
        .ca_pem(made.cert.pem().as_bytes())
        .unwrap();
    let error = Client::connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { problem: ReachProblem::NotTls, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn https_works_with_the_right_ca_and_says_what_is_wrong_with_any_other() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let server = fake::start_with(Some(ServerTlsConfig::new().identity(identity)));
    let connect = async |host: &str, ca: &str| {
        let url = format!("https://{host}:{}", server.address.port());
        let endpoint = Endpoint::new(&url).unwrap().ca_pem(ca.as_bytes()).unwrap();
        Client::connect(&endpoint).await
    };
    let trusted = made.cert.pem();
    let client = connect("localhost", &trusted).await.unwrap();
    let missing = client.vms().get("web").await.unwrap_err();
    assert!(missing.refusal().unwrap().is(ErrorReason::VmNotFound));

    let problem = |answer: Result<Client, ClientError>| match answer {
        Err(ClientError::Unreachable { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let wrong_name = problem(connect("127.0.0.1", &trusted).await);
    assert_eq!(wrong_name, ReachProblem::WrongCertificateName);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let untrusted = problem(connect("localhost", &other).await);
    assert_eq!(untrusted, ReachProblem::UntrustedCertificate);
    // Plain text to a server with TLS: no answer that makes sense, and nothing hangs.
    let plain = Endpoint::new(&server.url()).unwrap().deadline(Duration::from_secs(5));
    let error = match Client::connect(&plain).await {
        Ok(client) => client.vms().get("web").await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.advice().contains("http or https"), "{error:?}");
}

/// The commands of the operators' page, word for word, but for the names in their first line.
fn made_by_the_page(dir: &std::path::Path, name: &str) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let part = page.split("\n### TLS\n").nth(1).expect("the page has that part");
    let commands = part.split("```").nth(1).expect("the part has commands");
    let first = "NAME=server.example ADDRESS=192.0.2.1";
    assert!(commands.contains(first), "{commands}");
    let commands = commands.replace(first, &format!("NAME={name} ADDRESS=127.0.0.1"));
    #[expect(clippy::disallowed_methods, reason = "the page's commands are for a shell")]
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-e", "-c", &commands]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_certificates_of_the_operators_page_work_and_what_goes_wrong_names_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    made_by_the_page(dir.path(), "localhost");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let serve = |cert: &str, key: &str| {
        let identity = Identity::from_pem(read(cert), read(key));
        fake::start_with(Some(ServerTlsConfig::new().identity(identity)))
    };
    let connect = async |server: &fake::Running, host: &str, ca: Option<&str>| {
        let url = format!("https://{host}:{}", server.address.port());
        let endpoint = Endpoint::new(&url).unwrap();
        let endpoint = match ca {
            Some(ca) => endpoint.ca_file(&dir.path().join(ca)).unwrap(),
            None => endpoint,
        };
        Client::connect(&endpoint).await
    };
    let server = serve("api.crt", "api.key");
    for host in ["localhost", "127.0.0.1"] {
        connect(&server, host, Some("api-ca.crt")).await.unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    made_by_the_page(other.path(), "localhost");
    let elsewhere = other.path().join("api-ca.crt");
    let error = connect(&server, "localhost", elsewhere.to_str()).await.unwrap_err();
    assert!(error.advice().contains("--ca FILE"), "{error} {}", error.advice());
    // Two that are often taken for each other.
    let server = serve("api-ca.crt", "api-ca.key");
    let error = connect(&server, "localhost", Some("api-ca.crt")).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { problem: ReachProblem::CaAsServer, .. }),
        "{error:?}"
    );
    assert!(error.advice().contains("\"TLS\""), "{}", error.advice());
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_said_so() {
    let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    made.not_before = rcgen::date_time_ymd(2020, 1, 1);
    made.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = made.self_signed(&key).unwrap();
    let identity = Identity::from_pem(cert.pem(), key.serialize_pem());
    let server = fake::start_with(Some(ServerTlsConfig::new().identity(identity)));
    let url = format!("https://localhost:{}", server.address.port());
    let endpoint = Endpoint::new(&url).unwrap().ca_pem(cert.pem().as_bytes()).unwrap();
    let error = Client::connect(&endpoint).await.unwrap_err();
    assert!(error.to_string().contains("its certificate has expired"), "{error}");
    assert!(!error.advice().is_empty());
}

#[tokio::test]
async fn a_refusal_has_code_reason_and_fields() {
    let server = fake::start();
    let client = client(&server).await;
    let spec = Some(VmSpec { vcpus: 99, ..VmSpec::default() });
    let request = CreateVmRequest { spec, ..CreateVmRequest::default() };
    let error = client.vms().create(request).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert!(refusal.is(ErrorReason::InvalidFields));
    assert_eq!(refusal.fields.len(), 2);
    let error = client.vms().get("web").await.unwrap_err();
    assert!(error.refusal().unwrap().is(ErrorReason::VmNotFound));
}

#[tokio::test]
async fn the_token_goes_with_every_call() {
    let server = fake::start();
    let endpoint = Endpoint::new(&server.url()).unwrap().token("sesame").unwrap();
    let client = Client::connect(&endpoint).await.unwrap();
    let _ = client.vms().get("web").await;
    let _ = client.hosts().list_all("").await;
    let expected = Some("Bearer sesame".to_owned());
    assert_eq!(server.state().calls, [("GetVm", expected.clone()), ("ListHosts", expected)]);
}

#[tokio::test]
async fn a_list_has_all_pages() {
    let server = fake::start();
    let client = client(&server).await;
    for name in ["a", "bb", "ccc", "dddd", "eeeee"] {
        client.vms().create(wanted(name)).await.unwrap();
    }
    let list = client.vms().list_all(VmFilter::default()).await.unwrap();
    assert_eq!(list.vms.len(), 5);
    assert_eq!(list.revision, 5);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_repeated_and_makes_no_second_vm() {
    let server = fake::start();
    server.state().swallow_next_create = true;
    let proxy = Proxy::to(server.address).await;
    let client = Client::connect(&Endpoint::new(&proxy.url).unwrap()).await.unwrap();
    let vms = client.vms();
    let create = tokio::spawn(async move { vms.create(wanted("web")).await });
    until("the create arrives", || server.state().vms.contains_key("web")).await;
    proxy.cut();
    let vm = create.await.unwrap().unwrap();
    assert_eq!(vm.name, "web");
    let state = server.state();
    assert_eq!(state.vms.len(), 1);
    assert_eq!(state.calls.iter().filter(|(name, _)| *name == "CreateVm").count(), 2);
}

#[tokio::test]
async fn every_change_names_itself_and_is_repeated_by_that_name() {
    let server = fake::start();
    let proxy = Proxy::to(server.address).await;
    let client = Client::connect(&Endpoint::new(&proxy.url).unwrap()).await.unwrap();
    let vms = client.vms();
    // Without an id of the caller's.
    server.state().swallow_next_create = true;
    let request = CreateVmRequest { request_id: String::new(), ..wanted("web") };
    let create = tokio::spawn(async move { vms.create(request).await });
    until("the create arrives", || server.state().vms.contains_key("web")).await;
    proxy.cut();
    create.await.unwrap().unwrap();
    assert_eq!(server.state().vms.len(), 1);
    server.state().swallow_next_update = true;
    let vms = client.vms();
    let change = move || UpdateVmRequest {
        vm: "web".to_owned(),
        spec: wanted("web").spec,
        ..UpdateVmRequest::default()
    };
    let update = tokio::spawn(async move { vms.update(change()).await });
    until("the update arrives", || server.state().update_ids.len() == 1).await;
    proxy.cut();
    update.await.unwrap().unwrap();
    client.vms().update(change()).await.unwrap();
    let ids = server.state().update_ids.clone();
    let [first, again, other] = &ids[..] else { panic!("{ids:?}") };
    assert!(!first.is_empty() && first == again, "a repetition is known by its id: {ids:?}");
    assert_ne!(first, other, "another change is another one");
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_and_that_can_not_be_repeated_says_so() {
    let server = fake::start();
    let proxy = Proxy::to(server.address).await;
    let client = Client::connect(&Endpoint::new(&proxy.url).unwrap()).await.unwrap();
    let vms = client.vms();
    vms.create(wanted("web")).await.unwrap();
    server.state().swallow_next_update = true;
    let change = UpdateVmRequest { vm: "web".to_owned(), ..UpdateVmRequest::default() };
    let update = tokio::spawn(async move { vms.update(change).await });
    // Each of its tries breaks off.
    loop {
        let over = || update.is_finished();
        until("an update arrives", || over() || !server.state().swallow_next_update).await;
        if over() {
            break;
        }
        server.state().swallow_next_update = true;
        proxy.cut();
    }
    let error = update.await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Interrupted { .. }), "{error:?}");
    assert!(error.to_string().ends_with("whether it took effect is not known"), "{error}");
}

#[tokio::test]
async fn a_wait_outlives_a_server_that_goes_away_and_comes_back() {
    let server = fake::start();
    let client = client(&server).await;
    let vm = client.vms().create(wanted("web")).await.unwrap();
    let going = fake::refusal(Code::Unavailable, "SHUTTING_DOWN", "the server is shutting down");
    server.state().wait_failures.extend([going.clone(), going]);
    let wanted = WaitFor::settled(&vm, Duration::from_secs(20));
    let waited = client.vms().wait(wanted, |_| {}).await.unwrap();
    assert_eq!(waited.outcome, WaitOutcome::Reached);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over_and_says_how_the_vm_stands() {
    let server = fake::start();
    server.state().new_state = Some(VmState::Starting);
    let client = client(&server).await;
    let vm = client.vms().create(wanted("web")).await.unwrap();
    let wanted =
        WaitFor::settled(&vm, Duration::from_millis(300)).every(Some(Duration::from_millis(50)));
    let mut heard = 0;
    let waited = client.vms().wait(wanted, |_| heard += 1).await.unwrap();
    assert_eq!(waited.outcome, WaitOutcome::Timeout);
    assert_eq!(waited.vm.unwrap().name, "web");
    assert!(heard > 1, "heard of the VM {heard} times");
}

#[tokio::test]
async fn waiting_until_what_is_gone_is_gone_succeeds() {
    let server = fake::start();
    let client = client(&server).await;
    let wanted = WaitFor::gone("0192f0c1-0000-7000-8000-000000000001", Duration::from_secs(5));
    let waited = client.vms().wait(wanted, |_| {}).await.unwrap();
    assert_eq!(waited.outcome, WaitOutcome::Reached);
    assert_eq!(waited.vm, None);
}
