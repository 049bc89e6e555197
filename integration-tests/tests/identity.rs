//! Callers whom others vouch for, with the real server and the real command: by a provider of
//! identities, which runs here and misbehaves where a test asks for it, and by a CA of clients.

mod identity {
    mod certificates;
    mod login;
    mod oidc;
    mod stage;
}
