//! A word with the agent itself, as its server has it: programs in a guest.
//!
//! With a certificate that the stage's own CA makes. What can go wrong: the agent refuses, which is
//! answered.

use std::path::Path;

use banger_proto::agent_v1::ExecRequest;
use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_proto::ids::HostId;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecInput, ExecStart};
use banger_proto::wire::tls::agent_name;
use banger_server::clock::{Clock as _, SystemClock};
use banger_server::pki::CertificateAuthority;
use serde_json::Value;
use tonic::Status;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// How a program ended and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

/// Runs a program in a guest of a host, which `host get` has shown. On this thread, whose network
/// the agent is in.
pub(crate) fn exec(
    server_state: &Path,
    host: &Value,
    vm: &str,
    command: &[&str],
) -> Result<Done, Status> {
    let now = SystemClock.now();
    let ca =
        CertificateAuthority::open_or_make(&server_state.join("ca"), now).expect("it is there");
    let ours = ca.client_certificate(now).expect("it can be signed");
    let id: HostId = host["id"].as_str().expect("text").parse().expect("a host has an id");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.certificate_pem()))
        .identity(Identity::from_pem(&ours.certificate_pem, &ours.key_pem))
        .domain_name(agent_name(id));
    let address = host["agentAddress"].as_str().expect("text");
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    let endpoint = endpoint.tls_config(tls).expect("certificates that fit");
    let start = ExecStart {
        command: command.iter().map(ToString::to_string).collect(),
        ..ExecStart::default()
    };
    let first = ExecRequest {
        vm_id: vm.to_owned(),
        input: Some(ExecInput { input: Some(Input::Start(start)) }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("it can be made").block_on(async {
        let channel = endpoint.connect().await.expect("the agent listens");
        let mut client = AgentServiceClient::new(channel);
        let mut outputs = client.exec(tokio_stream::iter([first])).await?.into_inner();
        let mut done = Done { stdout: String::new(), stderr: String::new(), code: None };
        while let Some(message) = outputs.message().await? {
            let text = |data: Vec<u8>| String::from_utf8_lossy(&data).into_owned();
            match message.output.and_then(|output| output.output) {
                Some(Output::Stdout(data)) => done.stdout += &text(data),
                Some(Output::Stderr(data)) => done.stderr += &text(data),
                Some(Output::Exited(exited)) => done.code = exited.code,
                Some(Output::Started(_)) | None => {}
            }
        }
        Ok(done)
    })
}
