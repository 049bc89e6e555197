//! What the provider answers over HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Of;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{CLIENT, Keys, Login, State};

type Shared = Of<Arc<Mutex<State>>>;

pub(super) fn serve(listener: TcpListener, state: Arc<Mutex<State>>) -> JoinHandle<()> {
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(description))
        .route("/keys", get(keys))
        .route("/device", post(device))
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .with_state(state);
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}

/// An answer that is JSON.
fn said(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn description(Of(state): Shared) -> Response {
    let mut state = state.lock();
    state.count("description");
    let at = |page: &str| format!("{}/{page}", state.issuer);
    said(&json!({
        "issuer": state.issuer,
        "jwks_uri": at("keys"),
        "token_endpoint": at("token"),
        "device_authorization_endpoint": at("device"),
        "revocation_endpoint": at("revoke"),
    }))
}

async fn keys(Of(state): Shared) -> Response {
    let (keys, shown) = {
        let mut state = state.lock();
        state.count("keys");
        (state.keys.clone(), json!({ "keys": [state.signer.shown()] }))
    };
    match keys {
        Keys::Good => said(&shown),
        Keys::Answer(status, text) => {
            (StatusCode::from_u16(status).unwrap_or_default(), text).into_response()
        }
        Keys::Endless => {
            let endless = futures_util::stream::repeat_with(|| {
                Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096]))
            });
            Body::from_stream(endless).into_response()
        }
        Keys::Mute => std::future::pending().await,
    }
}

/// The fields of a form.
fn form(body: &Bytes) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

fn refused(error: &str) -> Response {
    let why = "as a test has asked for, \u{1b}]0;and more\u{7}";
    let said = said(&json!({"error": error, "error_description": why}));
    (StatusCode::BAD_REQUEST, said).into_response()
}

async fn device(Of(state): Shared, body: Bytes) -> Response {
    let mut state = state.lock();
    state.count("device");
    if form(&body).get("client_id").map(String::as_str) != Some(CLIENT) {
        return refused("invalid_client");
    }
    state.made += 1;
    let code = format!("device-{}", state.made);
    state.logins.insert(code.clone(), Login::Asked);
    let usual = ("ABCD-EFGH".to_owned(), format!("{}/activate", state.issuer));
    let (user_code, page) = state.hostile.clone().unwrap_or(usual);
    said(&json!({
        "device_code": code,
        "user_code": user_code,
        "verification_uri": page,
        "expires_in": 60,
        "interval": 1,
    }))
}

#[expect(clippy::disallowed_methods, reason = "what a provider signs has the time of its clock")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

async fn token(Of(state): Shared, body: Bytes) -> Response {
    let mut state = state.lock();
    let form = form(&body);
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let claims = match &*field("grant_type") {
        "refresh_token" => {
            state.count("refresh");
            // Each is good once.
            match state.refresh.remove(&field("refresh_token")) {
                Some(claims) => claims,
                None => return refused("invalid_grant"),
            }
        }
        _ => {
            state.count("token");
            if state.slow > 0 {
                state.slow -= 1;
                return refused("slow_down");
            }
            match state.logins.get(&field("device_code")).cloned() {
                Some(Login::Asked) => return refused("authorization_pending"),
                Some(Login::Denied) => return refused("access_denied"),
                Some(Login::Approved(claims)) => claims,
                None => return refused("expired_token"),
            }
        }
    };
    state.made += 1;
    let refresh = format!("refresh-{}", state.made);
    state.refresh.insert(refresh.clone(), claims.clone());
    let token = state.token(now(), &claims);
    said(&json!({
        "id_token": token,
        "access_token": "nobody-can-read-this",
        "refresh_token": refresh,
        "token_type": "Bearer",
        "expires_in": state.lasts,
    }))
}

async fn revoke(Of(state): Shared, body: Bytes) -> StatusCode {
    let mut state = state.lock();
    state.count("revoke");
    let token = form(&body).get("token").cloned().unwrap_or_default();
    state.refresh.remove(&token);
    state.revoked.push(token);
    StatusCode::OK
}
