//! Blocks of the documents that need more than a simulated host: which test runs each, or why none
//! can.

use std::fs;

use banger_integration_tests::pages::{Block, top};

const PAGES: &str = "integration-tests/tests/qemu/pages.rs";
const ON_A_REAL_HOST: &str = "priv_what_the_first_pages_say_to_type_works_on_a_real_host";
const MAKE: &str = "integration-tests/tests/foreign/make.rs";
const FIRST_FLEET: &str = "integration-tests/tests/foreign/first_fleet.rs";
const FOLLOWED: &str =
    "documents_the_first_fleet_is_followed_from_its_certificate_to_a_host_that_is_online";
const BACKUP: &str = "integration-tests/tests/simulated/backup.rs";
const BACKED_UP: &str =
    "fault_the_page_on_backups_followed_word_for_word_brings_back_exactly_the_backup";
const REJOIN: &str = "integration-tests/tests/simulated/rejoin.rs";
const REJOINED: &str =
    "converge_a_host_joins_again_and_gets_another_key_as_the_page_says_and_keeps_its_vms";

const CA: &str = "integration-tests/tests/simulated/ca.rs";
const CA_REPLACED: &str = "converge_the_ca_is_replaced_as_the_page_says_and_no_host_is_touched";

const FLEET_PAGE: &str = "docs/FIRST-FLEET.md";
const UPGRADE: &str = "integration-tests/testhost/tests/testhost_upgrade.rs";
const OUTLIVES: &str = "a_vm_outlives_every_restart_update_and_removal_of_banger";

/// A document, how the block begins, the file of the test that runs it, and the test.
pub(super) const BY: [(&str, &str, &str, &str); 28] = [
    ("README.md", "$ banger vm exec first", PAGES, ON_A_REAL_HOST),
    ("docs/FIRST-FLEET.md", "mkdir demo", PAGES, ON_A_REAL_HOST),
    ("client/python/README.md", "import banger_client", PAGES, ON_A_REAL_HOST),
    (
        "client/typescript/README.md",
        "import { BangerError",
        "client/typescript/test/readme.test.ts",
        "the program of the first page is typed as it says, and lives up to where a guest is needed",
    ),
    ("docs/FIRST-FLEET.md", "install -d -o banger", FIRST_FLEET, FOLLOWED),
    ("docs/FIRST-FLEET.md", "banger host token", FIRST_FLEET, FOLLOWED),
    ("docs/OPERATIONS.md", "NAME=server.example", FIRST_FLEET, FOLLOWED),
    (
        "docs/DEVELOPING.md",
        "make up",
        MAKE,
        "make_up_ends_with_a_vm_that_runs_and_make_down_leaves_nothing",
    ),
    ("docs/OPERATIONS.md", "banger-server backup", BACKUP, BACKED_UP),
    ("docs/OPERATIONS.md", "mkdir -p /var/backups/images", BACKUP, BACKED_UP),
    ("docs/OPERATIONS.md", "systemctl stop banger-server", BACKUP, BACKED_UP),
    ("deploy/README.md", "systemctl stop banger-server", BACKUP, BACKED_UP),
    (
        "docs/OPERATIONS.md",
        "[auth.oidc]",
        "integration-tests/tests/identity/login.rs",
        "what_the_page_says_to_type_logs_a_person_in",
    ),
    (
        "docs/OPERATIONS.md",
        "[auth.client_certificates]",
        "integration-tests/tests/identity/certificates.rs",
        "a_program_is_known_by_a_certificate_as_the_page_says_to_make_it",
    ),
    (
        "docs/OPERATIONS.md",
        "banger context set work",
        "integration-tests/tests/identity/login.rs",
        "what_the_page_says_to_type_logs_a_person_in",
    ),
    (
        "docs/OPERATIONS.md",
        "openssl req -x509",
        "integration-tests/tests/identity/certificates.rs",
        "a_program_is_known_by_a_certificate_as_the_page_says_to_make_it",
    ),
    (
        "docs/OPERATIONS.md",
        "banger context set ci",
        "integration-tests/tests/identity/certificates.rs",
        "a_program_is_known_by_a_certificate_as_the_page_says_to_make_it",
    ),
    ("docs/OPERATIONS.md", "banger host token", REJOIN, REJOINED),
    ("docs/OPERATIONS.md", "banger host cordon NAME", REJOIN, REJOINED),
    ("docs/OPERATIONS.md", "banger host revoke NAME", REJOIN, REJOINED),
    ("docs/OPERATIONS.md", "banger-server ca new", CA, CA_REPLACED),
    ("deploy/README.md", "echo TOKEN | banger-agent join", REJOIN, REJOINED),
    (FLEET_PAGE, "apt-get update && apt-get install -y ./banger_*.deb openssl", UPGRADE, OUTLIVES),
    (FLEET_PAGE, "apt-get update && apt-get install -y ./banger_*.deb curl", UPGRADE, OUTLIVES),
    ("deploy/README.md", "deploy/get-firecracker.sh --sha256 HEX", UPGRADE, OUTLIVES),
    ("deploy/README.md", "NEW/banger system update", UPGRADE, OUTLIVES),
    ("deploy/README.md", "banger system update --from /var/lib", UPGRADE, OUTLIVES),
    ("deploy/README.md", "banger system uninstall --purge", UPGRADE, OUTLIVES),
];

/// A document, how the block begins, and why it is not run as it is written. That its commands,
/// flags, targets and crates are there is tested of these, too.
pub(super) const NOT_RUN: [(&str, &str, &str); 5] = [
    ("docs/DASHBOARD.md", "make dashboard", "it writes to the tree; .ci/web.sh compares instead"),
    ("docs/DEVELOPING.md", "cargo build --workspace", "a test does not run the tests"),
    ("docs/TESTING.md", "cargo nextest run", "a test does not run the tests"),
    ("integration-tests/testhost/README.md", "make test-host", "a test does not run the tests"),
    (
        "deploy/README.md",
        "cargo build --release",
        "a release build; what it installs with is run by testhost_upgrade",
    ),
];

/// Why that test does not run a block: it is not there, or its file takes nothing from that page by
/// how the block begins or by the heading above it.
pub(super) fn does_not_run(
    document: &str,
    block: &Block,
    begins: &str,
    file: &str,
    function: &str,
) -> Option<String> {
    let missing = |what: &str| Some(format!("{document}: {begins}: {file} {what}"));
    let Ok(text) = fs::read_to_string(top().join(file)) else { return missing("is not there") };
    let of_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = text.lines().filter(of_code).collect::<Vec<_>>().join("\n");
    if !code.contains(&format!("fn {function}()"))
        && !code.contains(&format!("test(\"{function}\""))
    {
        return missing(&format!("has no test {function}"));
    }
    // As a word by itself, or at the end of a path.
    let named = [format!("\"{document}\""), format!("../{document}\"")];
    if !named.iter().any(|name| code.contains(name)) {
        return missing("does not read that page");
    }
    let taken = [begins.to_owned(), block.heading.clone()];
    if !taken.iter().any(|words| code.contains(&format!("\"{words}"))) {
        return missing("does not take that block");
    }
    None
}
