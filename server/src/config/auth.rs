//! The section `[auth]`: who may call, by tokens of this server, by tokens that a provider of
//! identities signs, and by client certificates.
//!
//! A grant says which people or programs have which role, and where. The first that fits holds, so
//! that their order is all that has to be read to know what somebody may do.

use std::path::PathBuf;

use banger_wire::web;
use serde::{Deserialize, Serialize};

use crate::model::caller::{ProjectRole, Rights, Role};
use crate::model::project::ProjectName;

/// Most grants of one kind of identity.
const MOST_GRANTS: usize = 1000;

/// Algorithms of signatures by keys that a provider shows: none that needs a secret of both.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Who may call the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// A file with one `<principal> <token> [<role>]` a line; `#` begins a comment. Without a role
    /// the principal is an admin.
    pub token_file: Option<PathBuf>,
    /// Every call needs an identity on loopback, too. Beyond it that is so in any case, but for
    /// `insecure_anonymous`, and where any of the others is set.
    pub ask_for_tokens: bool,
    /// Tokens that a provider of identities signs: OpenID Connect.
    pub oidc: Option<OidcConfig>,
    /// Certificates that callers show in the TLS handshake.
    pub client_certificates: Option<ClientCertificatesConfig>,
}

/// A provider of identities, whose tokens are verified with its keys and without asking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider, as its tokens call it (`iss`): `https://…`. It begins the name of each of its
    /// people in histories.
    pub issuer: String,
    /// For whom a token has to be (`aud`), such as the client id of the command.
    pub audience: String,
    /// PEM file of the CAs that the provider's certificate is trusted by; without it those of this
    /// machine.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A file with the provider's keys (JWKS), which is read at the start and on a reload. Nobody
    /// is asked then.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where the provider's keys are. Without this and `jwks_file` the provider says it
    /// (`<issuer>/.well-known/openid-configuration`).
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The claim that says who somebody is. `email` counts only where the provider says that it is
    /// verified.
    #[serde(default = "sub")]
    pub principal_claim: String,
    /// Algorithms of signatures that are taken.
    #[serde(default = "usual_algorithms")]
    pub algorithms: Vec<String>,
    /// By how much the provider's clock and this one may differ, in seconds, at most 60.
    #[serde(default = "usual_skew")]
    pub skew_secs: u32,
    /// A token that is good for longer is refused, 1 to 720: nobody can take it back.
    #[serde(default = "day")]
    pub max_token_hours: u32,
    /// How often keys are read anew, in seconds, 30 to 86400.
    #[serde(default = "usual_refresh")]
    pub refresh_secs: u32,
    /// For how long keys hold when they can't be read anew, 1 to 720.
    #[serde(default = "day")]
    pub keys_hold_hours: u32,
    /// Who has which role. Whoever has none is refused.
    #[serde(default)]
    pub grants: Vec<OidcGrant>,
}

/// A role for people with a claim of this value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcGrant {
    /// A claim, such as `groups`; of one in another, such as `realm_access.roles`, both.
    pub claim: String,
    /// The claim's text, or one of those in it.
    pub value: String,
    /// `viewer`, `operator` or `admin`; of a project `viewer`, `developer` or `admin`.
    pub role: String,
    /// The project that it is a role of; without it, of the fleet.
    #[serde(default)]
    pub project: Option<String>,
}

/// A CA whose certificates name callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificatesConfig {
    /// PEM file of the CAs. Never the fleet's own, which knows hosts.
    pub ca: PathBuf,
    /// Who has which role. Whoever has none is refused.
    #[serde(default)]
    pub grants: Vec<CertificateGrant>,
}

/// A role for whoever shows a certificate with this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateGrant {
    /// A DNS name, URI or mail address of the certificate; of one without any its common name.
    pub name: String,
    /// `viewer`, `operator` or `admin`; of a project `viewer`, `developer` or `admin`.
    pub role: String,
    /// The project that it is a role of; without it, of the fleet.
    #[serde(default)]
    pub project: Option<String>,
}

fn sub() -> String {
    "sub".to_owned()
}

fn usual_algorithms() -> Vec<String> {
    ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec()
}

fn usual_skew() -> u32 {
    30
}

fn usual_refresh() -> u32 {
    300
}

fn day() -> u32 {
    24
}

/// The rights that a role gives, in the whole fleet or in one project.
///
/// # Errors
/// What is wrong with either.
pub fn rights(role: &str, project: Option<&str>) -> Result<Rights, String> {
    let Some(project) = project else {
        let known = Role::ALL.map(Role::as_str).join(", ");
        let role = role.parse().map_err(|()| format!("role {role:?} is none of {known}"))?;
        return Ok(Rights::Fleet(role));
    };
    let name = ProjectName::parse(project).map_err(|why| format!("project {project:?} {why}"))?;
    let known = ProjectRole::ALL.map(ProjectRole::as_str).join(", ");
    let role = role.parse().map_err(|()| format!("role {role:?} of a project is none of {known}"));
    Ok(Rights::Project(name, role?))
}

/// Text that a name in a history can have in it without being taken for more than one word.
fn is_a_word(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl AuthConfig {
    /// Whether anything but tokens that are made by calls says who callers are.
    pub(super) fn knows_callers(&self) -> bool {
        self.token_file.is_some() || self.oidc.is_some() || self.client_certificates.is_some()
    }

    /// Values that do not fit. `tls`: whether connections are over TLS.
    pub(super) fn problems(&self, tls: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(oidc) = &self.oidc {
            problems.extend(oidc.problems().into_iter().map(|why| format!("auth.oidc.{why}")));
        }
        if let Some(certificates) = &self.client_certificates {
            if !tls {
                problems.push(
                    "auth.client_certificates needs [tls]: certificates are shown in its handshake"
                        .to_owned(),
                );
            }
            let grants = certificates.grants.iter().map(|grant| {
                (
                    is_a_word(&grant.name),
                    format!("name {:?}", grant.name),
                    &grant.role,
                    &grant.project,
                )
            });
            let of_grants = grant_problems(grants.collect());
            problems
                .extend(of_grants.into_iter().map(|why| format!("auth.client_certificates.{why}")));
        }
        problems
    }
}

/// What is wrong with grants: for each whether what it is about can be, that in words, its role and
/// its project.
fn grant_problems(grants: Vec<(bool, String, &String, &Option<String>)>) -> Vec<String> {
    let mut problems = Vec::new();
    if grants.is_empty() {
        problems.push("grants is empty: nobody could call by it".to_owned());
    }
    if grants.len() > MOST_GRANTS {
        problems.push(format!("grants has {}; at most {MOST_GRANTS}", grants.len()));
    }
    for (number, (word, about, role, project)) in (1..).zip(grants) {
        if !word {
            problems
                .push(format!("grants number {number}: {about} is no word of 1 to 256 letters"));
        }
        if let Err(why) = rights(role, project.as_deref()) {
            problems.push(format!("grants number {number}: {why}"));
        }
    }
    problems
}

impl OidcConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match web::address(&self.issuer, true) {
            Err(why) => problems.push(format!("issuer: {why}")),
            Ok(url) if url.query().is_some() => {
                problems.push("issuer has a query".to_owned());
            }
            Ok(_) if !is_a_word(&self.issuer) => {
                problems.push("issuer is longer than 256 letters".to_owned());
            }
            Ok(_) => {}
        }
        if let Some(Err(why)) = self.jwks_url.as_deref().map(|url| web::address(url, true)) {
            problems.push(format!("jwks_url: {why}"));
        }
        if self.jwks_file.is_some() && self.jwks_url.is_some() {
            problems.push("jwks_file and jwks_url are both set".to_owned());
        }
        for (key, path) in [("ca", &self.ca), ("jwks_file", &self.jwks_file)] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                let path = path.display();
                problems.push(format!("{key} is {path}; must be an absolute path"));
            }
        }
        for (key, word) in
            [("audience", &self.audience), ("principal_claim", &self.principal_claim)]
        {
            if !is_a_word(word) {
                problems.push(format!("{key} is {word:?}; must be a word of 1 to 256 letters"));
            }
        }
        if self.algorithms.is_empty() {
            problems.push("algorithms is empty".to_owned());
        }
        for algorithm in &self.algorithms {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                let known = ALGORITHMS.join(", ");
                problems.push(format!("algorithms has {algorithm:?}, which is none of {known}"));
            }
        }
        for (key, value, range) in [
            ("skew_secs", self.skew_secs, 0..=60),
            ("max_token_hours", self.max_token_hours, 1..=720),
            ("refresh_secs", self.refresh_secs, 30..=86_400),
            ("keys_hold_hours", self.keys_hold_hours, 1..=720),
        ] {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                problems.push(format!("{key} is {value}; must be {least} to {most}"));
            }
        }
        let grants = self.grants.iter().map(|grant| {
            let words =
                is_a_word(&grant.claim) && !grant.value.is_empty() && grant.value.len() <= 256;
            (words, format!("claim {:?}", grant.claim), &grant.role, &grant.project)
        });
        problems.extend(grant_problems(grants.collect()));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        let auth: AuthConfig = toml::from_str(text).expect("it parses");
        auth.problems(true)
    }

    const GOOD: &str = r#"
        [oidc]
        issuer = "https://login.example.org/realms/x"
        audience = "banger"
        [[oidc.grants]]
        claim = "groups"
        value = "shop"
        role = "developer"
        project = "shop"
        [client_certificates]
        ca = "/etc/banger/clients.crt"
        [[client_certificates.grants]]
        name = "ci.example.org"
        role = "operator"
    "#;

    #[test]
    fn what_is_good_has_no_problem_and_what_is_not_is_named() {
        assert_eq!(parsed(GOOD), Vec::<String>::new());
        for (was, is, said) in [
            ("https://login", "http://login", "auth.oidc.issuer: http://login"),
            ("realms/x\"", "realms/x?y\"", "issuer has a query"),
            ("audience = \"banger\"", "audience = \"\"", "audience is"),
            ("audience", "skew_secs = 61\naudience", "skew_secs is 61; must be 0 to 60"),
            ("audience", "algorithms = [\"HS256\"]\naudience", "\"HS256\", which is none of"),
            ("audience", "algorithms = [\"none\"]\naudience", "\"none\", which is none of"),
            ("audience", "algorithms = []\naudience", "algorithms is empty"),
            ("audience", "jwks_file = \"keys\"\naudience", "must be an absolute path"),
            ("audience", "jwks_url = \"http://x.org\"\naudience", "jwks_url: http://x.org"),
            ("audience", "max_token_hours = 0\naudience", "max_token_hours is 0"),
            ("audience", "refresh_secs = 1\naudience", "refresh_secs is 1"),
            ("audience", "keys_hold_hours = 721\naudience", "keys_hold_hours is 721"),
            ("developer", "operator", "role \"operator\" of a project is none of"),
            ("project = \"shop\"", "", "role \"developer\" is none of"),
            ("project = \"shop\"", "project = \"Shop\"", "project \"Shop\""),
            ("ci.example.org", "", "grants number 1: name \"\""),
        ] {
            let problems = parsed(&GOOD.replacen(was, is, 1)).join("; ");
            assert!(problems.contains(said), "{was} -> {is}: {problems}");
        }
        let auth: AuthConfig = toml::from_str(GOOD).expect("it parses");
        assert!(auth.problems(false).join(";").contains("needs [tls]"));
    }

    #[test]
    fn without_a_grant_nobody_could_call_and_that_is_said() {
        let none = "[oidc]\nissuer = \"https://x.org\"\naudience = \"b\"";
        assert_eq!(parsed(none), ["auth.oidc.grants is empty: nobody could call by it"]);
    }
}
