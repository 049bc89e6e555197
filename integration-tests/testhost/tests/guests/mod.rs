//! Into guests of a real Firecracker by the `banger` command, run on the host itself: images that
//! people have, programs, files, and a VM for one program.
//!
//! The stand-in has no guest: there it is not tried, and says so.

use std::path::Path;
use std::time::Duration;

use banger_testhost::host::cache::Cache;
use banger_testhost::host::demo::{Demo, FILES};
use banger_testhost::host::{HostError, TestHost, Vmm};
use banger_testhost::oci;

use super::fleet::{FIRST, Fleet, oracle};

/// Where the server of this test may import from.
const IMPORTS: &str = "/data/imports";

const AGENT: &str = "/data/imports/banger-guest";

/// Asks Firecracker's metadata service for the guest's name, with a token that it is asked for
/// first. The service keeps a connection open: it ends when nothing more is asked.
const METADATA: &str = r#"ask() { (printf "$@"; busybox sleep 5) | busybox nc 169.254.169.254 80 | tail -n 1; }
token=$(ask 'PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n')
ask 'GET /latest/meta-data/local-hostname HTTP/1.1\r\nX-metadata-token: %s\r\n\r\n' "$token""#;

/// How long `banger` may take for anything: images are brought to the host, under emulation.
const LIMIT: Duration = Duration::from_secs(600);

/// Exit code and what a program wrote.
type Done = (i32, String, String);

fn done(code: i32, stdout: &str, stderr: &str) -> Done {
    (code, stdout.to_owned(), stderr.to_owned())
}

fn try_banger(fleet: &Fleet, args: &[&str], stdin: &[u8]) -> Done {
    let ran = fleet.host.run_for(&[&["/data/bin/banger"], args].concat(), stdin, LIMIT);
    let ran = ran.unwrap_or_else(|why| panic!("banger {args:?}: {why}\n{}", fleet.logs()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let done = (ran.code, text(&ran.stdout), text(&ran.stderr));
    assert_ne!(done.0, 125, "banger {args:?}: {done:?}\n{}", fleet.logs());
    done
}

fn banger(fleet: &Fleet, args: &[&str]) -> String {
    let (code, stdout, stderr) = try_banger(fleet, args, b"");
    assert_eq!(code, 0, "banger {args:?}: {stdout}{stderr}\n{}", fleet.logs());
    stdout
}

fn exec(fleet: &Fleet, vm: &str, program: &[&str]) -> Done {
    try_banger(fleet, &[&["vm", "exec", vm, "--"], program].concat(), b"")
}

/// Brings a file of this machine into the host.
fn bring(host: &TestHost, path: &Path, name: &str) {
    let bytes = std::fs::read(path).expect("it was made");
    host.write(&format!("{IMPORTS}/{name}"), &bytes).expect("it can be written");
}

/// What is to be imported: the kernel and the initial RAM disk of the demo guest, an OCI image.
fn bring_images(host: &TestHost) -> Result<(), HostError> {
    let demo = Demo::ready()?;
    let images = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let banger = Cache::open()?.profile().join("banger");
    demo.images(&banger, images.path())?;
    host.sh(&format!("mkdir -p {IMPORTS}"))?;
    for file in &FILES[..2] {
        bring(host, &images.path().join(file), file);
    }
    bring(host, &demo.agent, "banger-guest");
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let archive = oci::image(&busybox).expect("in memory");
    host.write(&format!("{IMPORTS}/layers.tar"), &archive)
}

/// Whether there are guests here; prints it where there are none.
fn has_guests() -> bool {
    let vmm = Cache::open().and_then(|cache| Vmm::find(&cache)).expect("a VMM is found or made");
    if !vmm.is_real() {
        println!("{}", vmm.line());
        println!("programs in guests: not tried, there is no guest in the stand-in");
    }
    vmm.is_real()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oci_image_boots_and_programs_run_in_guests() {
    if !has_guests() {
        return;
    }
    let config = format!("[images]\nguest_agent = \"{AGENT}\"\nimport_dirs = [\"{IMPORTS}\"]\n");
    let fleet = Fleet::start_with("guests", &["banger"], &config).await;
    let brought = bring_images(&fleet.host);
    brought.unwrap_or_else(|why| panic!("no images: {why}{}", super::fleet::causes(&why)));
    for (name, file, kind) in [("kernel", FILES[0], "kernel"), ("initrd", FILES[1], "initrd")] {
        let path = format!("{IMPORTS}/{file}");
        banger(&fleet, &["image", "import", name, "--server-path", &path, "--kind", kind]);
    }
    let archive = format!("{IMPORTS}/layers.tar");
    // No larger than it must be: it is brought to the host.
    banger(&fleet, &["image", "import", "layers", &archive, "--root-size", "24M"]);
    let image = banger(&fleet, &["image", "get", "layers"]);
    assert!(image.contains("the guest agent is started by being /sbin/init"), "{image}");
    let before = oracle::kernel(&fleet, &[&FIRST]);

    let spec = ["--kernel", "kernel", "--initrd", "initrd", "--root", "layers", "--memory", "128M"];
    let create = ["vm", "create", "oci", "--wait", "--timeout", "10m"];
    banger(&fleet, &[&create[..], &spec].concat());
    banger(&fleet, &["vm", "wait", "oci", "--ready", "--timeout", "10m"]);
    assert_eq!(exec(&fleet, "oci", &oci::SHOW), done(0, oci::SHOWN, ""));
    let vm = fleet.client.vms().get("oci").await.expect("is there");
    fleet.console_has(&vm, oci::PRINTED, 1).await;
    let guest = vm.status.clone().and_then(|status| status.guest).expect("it is ready");
    println!("an OCI image of two layers: guest agent by {}", guest.transport);
    assert_eq!(exec(&fleet, "oci", &["sh", "-c", METADATA]), done(0, "oci", ""));

    // Programs and files.
    let both = "echo to one; echo to the other >&2; exit 7";
    assert_eq!(exec(&fleet, "oci", &["sh", "-c", both]), done(7, "to one\n", "to the other\n"));
    assert_eq!(exec(&fleet, "oci", &["sh", "-c", "kill -9 $$"]), done(137, "", ""));
    let piped = ["vm", "exec", "-i", "oci", "--", "wc", "-c"];
    assert_eq!(try_banger(&fleet, &piped, &[b'x'; 100_000]), done(0, "100000\n", ""));
    fleet.sh("head -c 1048583 /dev/urandom >/data/sent");
    banger(&fleet, &["vm", "cp", "/data/sent", "oci:/tmp/there"]);
    let theirs = exec(&fleet, "oci", &["sha256sum", "/tmp/there"]);
    let sum = fleet.sh("sha256sum </data/sent");
    assert_eq!(theirs, done(0, &sum.replace('-', "/tmp/there\n"), ""));
    banger(&fleet, &["vm", "cp", "oci:/tmp/there", "/data/back"]);
    fleet.sh("cmp /data/sent /data/back");

    // The next agent finds the way, too, and it is the same boot.
    let boot = ["cat", "/proc/sys/kernel/random/boot_id"];
    assert_eq!(exec(&fleet, "oci", &boot), done(0, &format!("{}\n", guest.boot_id), ""));
    let epoch = fleet.get(&vm).await.status.expect("a status").agent_epoch;
    fleet.kill_agent(&FIRST);
    fleet.start_agent(&FIRST);
    fleet
        .eventually("the next agent reaches the guest agent", async || {
            let now = fleet.client.vms().get("oci").await.map_err(|why| why.to_string())?;
            let status = now.status.unwrap_or_default();
            let connected = status.guest.as_ref().is_some_and(|guest| guest.connected);
            let reached = connected && status.agent_epoch > epoch;
            if reached { Ok(()) } else { Err(format!("{status:#?}")) }
        })
        .await;
    assert_eq!(exec(&fleet, "oci", &boot), done(0, &format!("{}\n", guest.boot_id), ""));
    println!("the boot id before and after a kill -9 of the agent: {}", guest.boot_id);
    banger(&fleet, &["vm", "rm", "oci", "--yes", "--wait"]);

    // One program, one VM, and nothing afterwards.
    let run = ["vm", "run", "hello", "--rm", "--timeout", "10m"];
    let program = ["--", "cat", "/etc/hostname"];
    let ran = try_banger(&fleet, &[&run[..], &spec, &program].concat(), b"");
    assert_eq!(ran, done(0, "hello\n", ""));
    assert_eq!(try_banger(&fleet, &["vm", "get", "hello"], b"").0, 3, "it is still there");
    fleet.sh("rm /data/sent /data/back");
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}
