//! Certificate and tokens of the API change while it is used.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::*;
use banger_wire::service::secrets::SecretError;

use crate::config::{AuthConfig, TlsConfig};
use crate::store::AuditLook;

const TOKEN: &str = "0123456789abcdef-first";
const SECOND_TOKEN: &str = "0123456789abcdef-second";

/// A certificate for `localhost` that trusts itself, and its key.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Puts both files in place, each at once.
    fn lay_down(&self, files: &TlsConfig) {
        for (path, text) in [(&files.cert, &self.certificate), (&files.key, &self.key)] {
            replace(path, text);
        }
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("there is room");
    std::fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("it is ours");
    std::fs::rename(&new, path).expect("the same directory");
}

struct Stage {
    server: RunningServer,
    files: TlsConfig,
    token_file: PathBuf,
    _directory: tempfile::TempDir,
}

async fn stage(first: &Pair) -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let files = TlsConfig { cert: path("server.crt"), key: path("server.key") };
    let token_file = path("tokens");
    first.lay_down(&files);
    replace(&token_file, &format!("alice {TOKEN}\n"));
    let config = ServerConfig {
        tls: Some(files.clone()),
        auth: AuthConfig { token_file: Some(token_file.clone()), ..AuthConfig::default() },
        ..config(&directory)
    };
    let server = Server::start(config).await.expect("it starts");
    Stage { server, files, token_file, _directory: directory }
}

/// A new connection of somebody who trusts these.
async fn connect(
    api: SocketAddr,
    trusted: &[&Pair],
) -> Result<VmServiceClient<Channel>, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificates(trusted.iter().map(|pair| Certificate::from_pem(&pair.certificate)));
    let endpoint = Endpoint::from_shared(format!("https://{api}"))?.tls_config(tls)?;
    Ok(VmServiceClient::new(endpoint.connect().await?))
}

fn with_token<T>(request: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

async fn lists(api: SocketAddr, trusted: &Pair, token: &str) -> Code {
    let mut vms = connect(api, &[trusted]).await.expect("it is trusted");
    let request = with_token(v1::ListVmsRequest::default(), token);
    vms.list_vms(request).await.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_changed_under_load_breaks_no_call_and_is_the_one_shown_after() {
    let (first, second) = (Arc::new(Pair::new()), Arc::new(Pair::new()));
    let stage = stage(&first).await;
    let api = stage.server.api_addr;
    let (over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for worker in 0..4 {
        let (first, second) = (Arc::clone(&first), Arc::clone(&second));
        let (over, made) = (Arc::clone(&over), Arc::clone(&made));
        load.spawn(async move {
            // One connection for all of it, and a new one for each call beside it.
            let mut lasting = connect(api, &[&first, &second]).await.expect("it is trusted");
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                let mut fresh = connect(api, &[&first, &second]).await.expect("it is trusted");
                for (who, vms) in [("lasting", &mut lasting), ("fresh", &mut fresh)] {
                    let request = create(&format!("{who}-{worker}-{number}"));
                    vms.create_vm(with_token(request, TOKEN)).await.expect("no call breaks");
                    made.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
            }
        });
    }
    for change in 1..=10 {
        let pair = if change % 2 == 0 { &first } else { &second };
        pair.lay_down(&stage.files);
        stage.server.reload().expect("both are good");
        let seen = made.load(Ordering::Relaxed);
        while made.load(Ordering::Relaxed) < seen + 8 && load.try_join_next().is_none() {
            tokio::task::yield_now().await;
        }
    }
    second.lay_down(&stage.files);
    stage.server.reload().expect("both are good");
    over.store(true, Ordering::Relaxed);
    while let Some(worker) = load.join_next().await {
        worker.expect("no call broke");
    }
    let stored = stage.server.view().snapshot().vms.len();
    assert_eq!(stored, made.load(Ordering::Relaxed), "what was answered is there");
    assert!(connect(api, &[&first]).await.is_err(), "the old certificate is shown");
    assert_eq!(lists(api, &second, TOKEN).await, Code::Ok);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_good_change_nothing_and_a_token_that_is_taken_out_is_refused() {
    let (first, second) = (Pair::new(), Pair::new());
    let stage = stage(&first).await;
    let api = stage.server.api_addr;

    // A key that belongs to another certificate; the tokens beside it are good.
    replace(&stage.files.cert, &second.certificate);
    replace(&stage.token_file, &format!("alice {SECOND_TOKEN}\n"));
    let error = stage.server.reload().expect_err("they do not fit");
    assert!(matches!(error, CredentialsError::Tls(_)), "{error:?}");
    assert_eq!(lists(api, &first, TOKEN).await, Code::Ok);
    // A good pair, and tokens that are none.
    second.lay_down(&stage.files);
    replace(&stage.token_file, "alice short\n");
    let error = stage.server.reload().expect_err("the token is too short");
    assert!(matches!(error, CredentialsError::Tokens(_)), "{error:?}");
    assert_eq!(lists(api, &first, TOKEN).await, Code::Ok);
    // Good ones, that others may read too.
    replace(&stage.token_file, &format!("alice {TOKEN}\n"));
    let open = Permissions::from_mode(0o640);
    std::fs::set_permissions(&stage.files.key, open.clone()).expect("it is ours");
    let error = stage.server.reload().expect_err("the key is no secret");
    assert!(
        matches!(error, CredentialsError::TlsFile(SecretError::OpenToOthers { .. })),
        "{error:?}"
    );
    second.lay_down(&stage.files);
    std::fs::set_permissions(&stage.token_file, open).expect("it is ours");
    let error = stage.server.reload().expect_err("the tokens are no secret");
    assert!(matches!(error, CredentialsError::Tokens(_)), "{error:?}");
    assert_eq!(lists(api, &first, TOKEN).await, Code::Ok);
    // No file at all.
    std::fs::remove_file(&stage.files.key).expect("it was there");
    replace(&stage.token_file, &format!("alice {TOKEN}\n"));
    let error = stage.server.reload().expect_err("there is no key");
    assert!(matches!(error, CredentialsError::TlsFile { .. }), "{error:?}");
    assert_eq!(lists(api, &first, TOKEN).await, Code::Ok);

    // Everything good: both change, for connections that are there, too.
    let mut lasting = connect(api, &[&first]).await.expect("it is trusted");
    second.lay_down(&stage.files);
    replace(&stage.token_file, &format!("bob {SECOND_TOKEN}\n"));
    stage.server.reload().expect("all of it is good");
    assert_eq!(lists(api, &second, SECOND_TOKEN).await, Code::Ok);
    assert_eq!(lists(api, &second, TOKEN).await, Code::Unauthenticated);
    let old = with_token(v1::ListVmsRequest::default(), TOKEN);
    let refused = lasting.list_vms(old).await.expect_err("the token is out");
    assert_eq!(refused.code(), Code::Unauthenticated);
    stage.server.shutdown().await;
}

/// Only root can give a file away; whoever else runs this has nothing to try.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_root_goes_by_no_tokens_of_another_user_and_neither_does_a_check() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let directory = tempfile::tempdir().expect("a directory");
    if std::fs::metadata(directory.path()).expect("it is there").uid() != 0 {
        return;
    }
    let token_file = directory.path().join("tokens");
    replace(&token_file, &format!("alice {TOKEN}\n"));
    chown(&token_file, Some(65_534), None).expect("given away");
    let auth = AuthConfig { token_file: Some(token_file.clone()), ..AuthConfig::default() };
    let config = ServerConfig { auth, ..config(&directory) };
    let said = check(&config).expect("nobody knows yet whose server it will be");
    assert!(said.iter().any(|line| line.contains("is not there yet")), "{said:?}");
    std::fs::create_dir(&config.state_dir).expect("made");
    let why = check(&config).expect_err("as a start");
    let why = banger_wire::causes::with_causes(&why);
    assert!(why.contains("belongs to user 65534"), "{why}");
    let refused = Server::start(config.clone()).await.expect_err("it goes by a user's words");
    let StartError::Credentials(CredentialsError::Tokens(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.to_string().contains("belongs to user 65534"), "{why}");
    chown(&token_file, Some(0), None).expect("taken back");
    let server = Server::start(config).await.expect("it is root's");
    chown(&token_file, Some(65_534), None).expect("given away");
    server.reload().expect_err("a reload is no different");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_a_caller_has_says_nothing_about_them() {
    let (pair, own) = (Pair::new(), Pair::new());
    let stage = stage(&pair).await;
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(&pair.certificate))
        .identity(Identity::from_pem(&own.certificate, &own.key));
    let endpoint = Endpoint::from_shared(format!("https://{}", stage.server.api_addr));
    let endpoint = endpoint.expect("an address").tls_config(tls).expect("it fits");
    let mut vms = VmServiceClient::new(endpoint.connect().await.expect("it connects"));
    let refused = vms.list_vms(v1::ListVmsRequest::default()).await.expect_err("no token");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(create("web"));
    let value = format!("Bearer {TOKEN}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    vms.create_vm(request).await.expect("alice may");
    let look = AuditLook { limit: 1, ..AuditLook::default() };
    let newest = stage.server.store().audit(&look).await.expect("readable").records;
    assert_eq!(&*newest[0].record.principal, "alice");
    stage.server.shutdown().await;
}

/// The unit runs the server as a user of its own, and root asks whether it will start.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_by_root_refuses_what_the_user_of_the_server_may_not_read() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    const USER: u32 = 65_534;
    let directory = tempfile::tempdir().expect("a directory");
    if std::fs::metadata(directory.path()).expect("it is there").uid() != 0 {
        return;
    }
    let open = Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("it is ours");
    let token_file = directory.path().join("tokens");
    replace(&token_file, &format!("alice {TOKEN}\n"));
    let auth = AuthConfig { token_file: Some(token_file.clone()), ..AuthConfig::default() };
    let config = ServerConfig { auth, ..config(&directory) };
    std::fs::create_dir(&config.state_dir).expect("made");
    chown(&config.state_dir, Some(USER), Some(USER)).expect("given away");
    let refusal = || {
        let checked = check(&config).expect_err("as a start");
        banger_wire::causes::with_causes(&checked)
    };
    assert!(refusal().contains("could not read"), "root's own: {}", refusal());
    chown(&token_file, Some(1000), None).expect("given away");
    assert!(refusal().contains("could not read"), "another's: {}", refusal());
    chown(&token_file, Some(USER), None).expect("given away");
    check(&config).expect("it may read them");
    // The CA that a start goes by.
    std::fs::create_dir(config.ca_dir()).expect("made");
    let key = config.ca_dir().join("ca.key");
    replace(&key, "no key");
    chown(config.ca_dir(), Some(USER), None).expect("given away");
    assert!(refusal().contains("CA can't be used"), "{}", refusal());
    chown(&key, Some(USER), None).expect("given away");
    assert!(refusal().contains("CA can't be used"), "{}", refusal());
    std::fs::remove_file(&key).expect("it is there");
    check(&config).expect("a start makes one");
    assert!(rustix::process::geteuid().is_root(), "others are who they were");
}
