//! The page on backups is followed word for word: its commands are taken from docs/OPERATIONS.md.
//! So is what deploy/README.md says of going back to an older release's database.
//!
//! What differs is only where things are: the page's directories stand for ones of this test, and
//! what it asks of systemd is done to this test's server.

use std::path::Path;

use banger_integration_tests::fleet::{Fleet, status};
use banger_integration_tests::pages::block;
use banger_integration_tests::programs::{command, ours};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;

/// The commands of a section, in order.
pub(super) fn commands_of(page: &str, section: &str) -> Vec<String> {
    let start = page.find(&format!("\n## {section}\n")).expect("the section is there") + 1;
    let text = &page[start..];
    let text = &text[..text[1..].find("\n##").map_or(text.len(), |end| end + 1)];
    let mut fenced = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            commands.push(line.to_owned());
        }
    }
    assert!(!commands.is_empty(), "no commands in {section}");
    commands
}

/// A fleet with the page's directories.
pub(super) struct Followed {
    pub(super) fleet: Fleet,
    page: String,
    /// What the commands have printed.
    pub(super) printed: String,
}

impl Followed {
    pub(super) async fn new() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        let fleet = Fleet::of(1).await;
        let bin = fleet.dir().join("bin");
        std::fs::create_dir(&bin).expect("made");
        std::fs::create_dir(fleet.dir().join("backups")).expect("made");
        // With its configuration where the page's server finds it by itself.
        let wrapper = bin.join("banger-server");
        let state = fleet.dir().join("server");
        let text = format!(
            "#!/bin/sh\nexec {} --config {} --state-dir {} \"$@\"\n",
            ours("banger-server").display(),
            fleet.dir().join("server.toml").display(),
            state.display()
        );
        std::fs::write(&wrapper, text).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&wrapper, executable).expect("made executable");
        Self { fleet, page, printed: String::new() }
    }

    async fn follow(&mut self, section: &str) {
        let lines = commands_of(&self.page, section);
        self.type_in(lines.iter().map(String::as_str)).await;
    }

    pub(super) async fn type_in(&mut self, lines: impl Iterator<Item = &str>) {
        self.printed.clear();
        for line in lines {
            match line {
                "systemctl stop banger-server" => self.fleet.stop_server(),
                "systemctl start banger-server" => self.fleet.start_server().await,
                "systemctl reload banger-server" => self.fleet.reload_server(),
                line => self.run(line),
            }
        }
    }

    fn run(&mut self, line: &str) {
        let at = |name: &str| self.fleet.dir().join(name).display().to_string();
        let here = line
            .replace("/var/lib/banger-server", &at("server"))
            .replace("/var/lib/banger-system/previous/database", &at("backups"))
            .replace("/var/backups", &at("backups"));
        assert!(!here.contains(" /var/") && !here.contains(" /etc/"), "unknown place: {line}");
        let path = format!("{}:{}", at("bin"), std::env::var("PATH").unwrap_or_default());
        let output = command(Path::new("/bin/sh"))
            .args(["-c", &here])
            .env("PATH", path)
            .output()
            .expect("a shell starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{out}{error}", output.status);
        self.printed.push_str(&out);
    }

    async fn make(&self, name: &str) {
        self.fleet.create(create(name)).await;
        self.fleet.until_state(name, v1::VmState::Running).await;
    }

    async fn stop(&self, name: &str) {
        let stop = v1::StopVmRequest { vm: name.to_owned(), ..Default::default() };
        self.fleet.vms().stop_vm(stop).await.expect("is stopped");
        self.fleet.until_state(name, v1::VmState::Stopped).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_the_page_on_backups_followed_word_for_word_brings_back_exactly_the_backup() {
    let mut followed = Followed::new().await;
    followed.make("kept").await;
    followed.make("deleted-since").await;
    followed.follow("Backing up").await;
    for place in ["server/ca", "server/images/sha256"] {
        let place = followed.fleet.dir().join(place).display().to_string();
        assert!(
            followed.printed.contains(&place),
            "it names what else to keep: {}",
            followed.printed
        );
    }
    for name in ["banger.db", "ca/ca.key", "images/sha256"] {
        assert!(followed.fleet.dir().join("backups").join(name).exists(), "{name} is not kept");
    }

    // What came after the backup is what the restore has to undo, once and once more.
    for made in ["made-since", "made-later"] {
        followed.stop("kept").await;
        let delete = v1::DeleteVmRequest { vm: "deleted-since".to_owned(), ..Default::default() };
        followed.fleet.vms().delete_vm(delete).await.expect("is deleted");
        followed.fleet.until_gone("deleted-since").await;
        followed.make(made).await;
        let id = followed.fleet.get(made).await.expect("is there").id;
        followed.follow("Restoring a backup").await;
        for words in ["unclaimed", made, "made again", "deleted-since"] {
            assert!(followed.printed.contains(words), "{words}: {}", followed.printed);
        }
        let kept = followed.fleet.until_state("kept", v1::VmState::Running).await;
        assert_eq!(status(&kept).reason, "", "{kept:?}");
        followed.fleet.until_state("deleted-since", v1::VmState::Running).await;
        let gone = followed.fleet.get(made).await.expect_err("the backup does not know it");
        assert_eq!(gone.code(), tonic::Code::NotFound);
        until("the host lists it as unclaimed", || async {
            let get = v1::GetHostRequest { host: "host-0".to_owned() };
            let host = followed.fleet.hosts().get_host(get).await;
            let host = host.map_err(|error| error.to_string())?.into_inner();
            let unclaimed = host.status.unwrap_or_default().unclaimed_vm_ids;
            if unclaimed.contains(&id) { Ok(()) } else { Err(format!("{unclaimed:?}")) }
        })
        .await;
    }

    // An older release's database comes back by the same command, from where an update keeps it.
    followed.make("made-after").await;
    let block = block("deploy/README.md", "systemctl stop banger-server");
    followed.type_in(block.lines()).await;
    assert!(followed.printed.contains("made-after"), "{}", followed.printed);
    followed.fleet.until_state("kept", v1::VmState::Running).await;
}
