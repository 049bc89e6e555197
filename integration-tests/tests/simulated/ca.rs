//! The CA is replaced by the commands of docs/OPERATIONS.md, word for word, while agents and VMs
//! run.

use std::path::PathBuf;

use banger_integration_tests::fleet::process;
use banger_integration_tests::pages::block;
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;

use super::backup::Followed;

const HOST: &str = "host-0";

fn trusted(followed: &Followed) -> usize {
    let path: PathBuf = followed.fleet.dir().join("host-0.state/identity/ca.crt");
    let pem = std::fs::read_to_string(path).unwrap_or_default();
    pem.matches("BEGIN CERTIFICATE").count()
}

async fn until_trusted(followed: &Followed, count: usize) {
    until(&format!("the agent trusts {count}"), || async {
        let trusted = trusted(followed);
        if trusted == count { Ok(()) } else { Err(trusted) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn converge_the_ca_is_replaced_as_the_page_says_and_no_host_is_touched() {
    let mut followed = Followed::new().await;
    followed.fleet.create(create("web")).await;
    let web = followed.fleet.until_state("web", v1::VmState::Running).await;
    for (at, line) in block("docs/OPERATIONS.md", "banger-server ca new").lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        if line == "banger-server ca status" {
            until_trusted(&followed, 2).await;
            loop {
                followed.type_in(std::iter::once(line)).await;
                if followed.printed.contains("is trusted until it is retired: 0 hosts") {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert!(followed.printed.contains("signs: 1 host"), "{}", followed.printed);
        } else {
            followed.type_in(std::iter::once(line)).await;
        }
        if line == "banger-server ca new" {
            // Nobody was renewed yet: it is refused, and says who is on it.
            let refused = "! banger-server ca retire && banger-server ca retire 2>&1 | grep host-0";
            followed.type_in(std::iter::once(refused)).await;
        }
        assert!(at < 5, "the page has become longer");
    }
    until_trusted(&followed, 1).await;
    // By the new one alone, from the beginning.
    followed.fleet.stop_server();
    followed.fleet.start_server().await;
    followed.fleet.until_host(HOST, v1::HostState::Online).await;
    followed.fleet.stop_agent(0);
    followed.fleet.start_agent(0);
    followed.fleet.until_host(HOST, v1::HostState::Online).await;
    followed.fleet.add_host("host-1", &[]).await;
    let after = followed.fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&after), process(&web), "its VM has not noticed");
    let stop = v1::StopVmRequest { vm: "web".to_owned(), ..Default::default() };
    followed.fleet.vms().stop_vm(stop).await.expect("it is told what to do");
    followed.fleet.until_state("web", v1::VmState::Stopped).await;
}
