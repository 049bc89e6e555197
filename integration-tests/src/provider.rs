//! A provider of identities (OpenID Connect) for tests: it describes itself, shows keys, lets
//! people log in by the device flow, refreshes, takes tokens back, rotates its keys, and misbehaves
//! where a test asks for it.
//!
//! Over plain HTTP on a loopback address. Whoever has it tells it what to do ([`Provider`]), and
//! counts what it was asked.

mod pages;
pub mod sign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::sign::{Signer, Way};

/// The client that the command is to it.
pub const CLIENT: &str = "banger-cli";

/// What becomes of whoever asks for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Those that it signs with.
    Good,
    /// This, with this status.
    Answer(u16, String),
    /// Bytes without end.
    Endless,
    /// Nothing, and the connection stays.
    Mute,
}

/// A login that somebody has begun.
#[derive(Debug, Clone)]
enum Login {
    Asked,
    /// With these claims beside the usual ones.
    Approved(Value),
    Denied,
}

/// What it knows, and is told.
#[derive(Debug)]
pub(crate) struct State {
    issuer: String,
    signer: Signer,
    keys: Keys,
    logins: BTreeMap<String, Login>,
    /// Claims by the refresh token that is good for them.
    refresh: BTreeMap<String, Value>,
    revoked: Vec<String>,
    /// How long a token is good, in seconds.
    lasts: i64,
    /// How often `slow_down` is answered before anything else.
    slow: u32,
    /// What a user code is, and where it is typed in, instead of the usual.
    hostile: Option<(String, String)>,
    asked: BTreeMap<&'static str, u32>,
    made: u32,
}

/// The provider.
#[derive(Debug)]
pub struct Provider {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

impl Provider {
    /// Serves on a free port, and signs by an RSA key.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let state = State {
            issuer: format!("http://{at}"),
            signer: Signer::new(Way::Rs256, "key-1"),
            keys: Keys::Good,
            logins: BTreeMap::new(),
            refresh: BTreeMap::new(),
            revoked: Vec::new(),
            lasts: 300,
            slow: 0,
            hostile: None,
            asked: BTreeMap::new(),
            made: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let serving = Some(pages::serve(listener, Arc::clone(&state)));
        Self { at, state, serving }
    }

    /// What its tokens call it.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.at)
    }

    /// It is away: nobody listens.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// It is there again.
    ///
    /// # Panics
    /// When somebody else has its port.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.at).await.expect("its port is free");
        self.serving = Some(pages::serve(listener, Arc::clone(&self.state)));
    }

    /// From now on it signs by another key, and shows that alone.
    pub fn rotate(&self, way: Way, name: &str) {
        self.state.lock().signer = Signer::new(way, name);
    }

    /// What becomes of whoever asks for keys.
    pub fn show(&self, keys: Keys) {
        self.state.lock().keys = keys;
    }

    /// How long tokens are good from now on, in seconds.
    pub fn tokens_last(&self, seconds: i64) {
        self.state.lock().lasts = seconds;
    }

    /// Answers `slow_down` so often before anything else.
    pub fn slow_down(&self, times: u32) {
        self.state.lock().slow = times;
    }

    /// Shows whoever logs in this code and this address.
    pub fn answer_hostilely(&self, code: &str, address: &str) {
        self.state.lock().hostile = Some((code.to_owned(), address.to_owned()));
    }

    /// How often it was asked for something: "description", "keys", "device", "token", "refresh" or
    /// "revoke".
    #[must_use]
    pub fn asked(&self, what: &str) -> u32 {
        self.state.lock().asked.get(what).copied().unwrap_or(0)
    }

    /// A person approves every login that is open, as whom these claims name.
    ///
    /// # Panics
    /// When there is none.
    pub fn approve(&self, claims: &Value) {
        let mut state = self.state.lock();
        let mut open = 0;
        for login in state.logins.values_mut() {
            if matches!(login, Login::Asked) {
                *login = Login::Approved(claims.clone());
                open += 1;
            }
        }
        assert!(open > 0, "nobody logs in");
    }

    /// Whether somebody waits for a login to be approved.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.state.lock().logins.values().any(|login| matches!(login, Login::Asked))
    }

    /// A person denies every login that is open.
    pub fn deny(&self) {
        self.state.lock().logins.values_mut().for_each(|login| *login = Login::Denied);
    }

    /// Refuses to refresh anything that it has given.
    pub fn forget_refresh_tokens(&self) {
        self.state.lock().refresh.clear();
    }

    /// What was taken back.
    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        self.state.lock().revoked.clone()
    }

    /// A token with these claims instead of the usual ones; `null` leaves one out. `now` in seconds
    /// since 1970.
    #[must_use]
    pub fn token(&self, now: i64, claims: &Value) -> String {
        self.state.lock().token(now, claims)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl State {
    fn token(&self, now: i64, instead: &Value) -> String {
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "ann", "iat": now, "exp": now + self.lasts,
        });
        let (Some(all), Some(instead)) = (claims.as_object_mut(), instead.as_object()) else {
            return String::new();
        };
        for (name, value) in instead {
            match value {
                Value::Null => drop(all.remove(name)),
                value => drop(all.insert(name.clone(), value.clone())),
            }
        }
        self.signer.signed(&json!({}), &claims)
    }

    fn count(&mut self, what: &'static str) {
        *self.asked.entry(what).or_default() += 1;
    }
}
