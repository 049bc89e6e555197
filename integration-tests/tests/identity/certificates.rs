//! Programs that the server knows by their certificates, as the page says to make them.

use std::fs;
use std::path::{Path, PathBuf};

use banger_integration_tests::pages::block;
use banger_integration_tests::ports::free_addresses;
use banger_integration_tests::programs::{Running, command, ours, programs_dir};
use banger_integration_tests::wait::until;

const PAGE: &str = "docs/OPERATIONS.md";

/// A machine with a server on it, and a shell.
struct Machine {
    dir: tempfile::TempDir,
    api: String,
}

impl Machine {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn types(&self, text: &str) -> Result<String, String> {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs_dir().display());
        let output = command(Path::new("bash"))
            .args(["-euo", "pipefail", "-c", text])
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(self.dir.path())
            .output()
            .expect("bash can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    fn typed(&self, text: &str) -> String {
        self.types(text).unwrap_or_else(|said| panic!("{text}\n{said}"))
    }

    /// Another certificate by the same CA: for this name, and for so many days.
    fn certificate(&self, file: &str, name: &str, days: &str) {
        let page = block(PAGE, "openssl req -x509");
        let own: Vec<_> = page.lines().skip(1).collect();
        let own = own.join("\n").replace("ci.example.org", name).replace("-days 90", days);
        self.typed(&own.replace("ci.", &format!("{file}.")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_known_by_a_certificate_as_the_page_says_to_make_it() {
    let [api, metrics] = free_addresses();
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine { dir, api: format!("localhost:{}", api.port()) };
    let tls = "NAME=server.example ADDRESS=192.0.2.1";
    machine.typed(&block(PAGE, tls).replace(tls, "NAME=localhost ADDRESS=127.0.0.1"));
    machine.typed(&block(PAGE, "openssl req -x509"));
    let path = |name: &str| machine.at(name).display().to_string();
    let config = format!(
        r#"
        [tls]
        cert = "{}"
        key = "{}"
        {}
        "#,
        path("api.crt"),
        path("api.key"),
        block(PAGE, "[auth.client_certificates]")
            .replace("/etc/banger/clients-ca.crt", &path("clients-ca.crt")),
    );
    fs::write(machine.at("server.toml"), config).expect("there is room");
    let arguments = [
        format!("--config={}", path("server.toml")),
        format!("--listen={api}"),
        format!("--metrics-listen={metrics}"),
        format!("--state-dir={}", path("state")),
    ];
    let _server = Running::start(&ours("banger-server"), &arguments, machine.at("server.log"));

    let call = block(PAGE, "banger context set ci").replace("server.example:7070", &machine.api);
    let who = until("it is known", || async { machine.types(&call) }).await;
    assert!(who.contains("certificate#ci.example.org is operator"), "{who}");
    assert!(who.contains("crt_"), "the audit calls it so: {who}");
    let list = machine.typed("banger vm ls");
    assert!(!list.contains("error"), "{list}");

    // A token says who calls where there is one, and one that is no good is not made good.
    let admin = path("state/first-admin.token");
    let both = machine.typed(&format!("banger --token-file {admin} whoami"));
    assert!(both.contains("admin is admin of the whole fleet"), "{both}");
    let bad = machine.types("BANGER_TOKEN=no-such-token-at-all banger whoami").expect_err("bad");
    assert!(bad.contains("unknown"), "{bad}");

    // Nobody: no certificate, one without a grant, one of the fleet's names, one that has expired,
    // one of another CA.
    let of = |file: &str| format!("banger --client-cert {file}.crt --client-key {file}.key whoami");
    let no_certificate = format!("banger --server https://{} --ca api-ca.crt whoami", machine.api);
    let refused = machine.types(&no_certificate).expect_err("nobody");
    assert!(refused.contains("no bearer token"), "{refused}");
    machine.certificate("other", "other.example.org", "-days 90");
    let refused = machine.types(&of("other")).expect_err("it has no grant");
    assert!(refused.contains("has a role here"), "{refused}");
    machine.certificate("agent", "server.banger.internal", "-days 90");
    let refused = machine.types(&of("agent")).expect_err("it is the fleet's");
    assert!(refused.contains("name of the fleet's own"), "{refused}");
    machine.typed("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=ci.example.org -addext extendedKeyUsage=clientAuth -keyout own.key -out own.crt");
    machine.types(&of("own")).expect_err("nobody has signed it");
    machine.typed("chmod 644 ci.key");
    let open = machine.types("banger whoami").expect_err("others may read the key");
    assert!(open.contains("chmod 600"), "{open}");
}
