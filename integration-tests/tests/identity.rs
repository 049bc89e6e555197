//! People whom a provider of identities vouches for: the real server and the real command, and a
//! provider that runs here and misbehaves where a test asks for it.

mod identity {
    mod login;
    mod oidc;
    mod stage;
}
