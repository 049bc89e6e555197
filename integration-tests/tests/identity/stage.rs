//! A server that goes by a provider of this test, and what people call it with.

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::provider::Provider;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use banger_proto::v1::token_service_client::TokenServiceClient;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A server, and the provider that it goes by.
pub(super) struct Stage {
    pub(super) provider: Provider,
    pub(super) fleet: Fleet,
}

impl Stage {
    /// With these lines in `[auth.oidc]` besides.
    pub(super) async fn with(more: &str) -> Self {
        let provider = Provider::start().await;
        let issuer = provider.issuer();
        let config = format!(
            r#"
            [auth.oidc]
            issuer = "{issuer}"
            audience = "banger-cli"
            {more}
            [[auth.oidc.grants]]
            claim = "groups"
            value = "platform"
            role = "admin"
            [[auth.oidc.grants]]
            claim = "groups"
            value = "shop"
            role = "developer"
            project = "shop"
            "#
        );
        let fleet = Fleet::with_config(&config).await;
        let stage = Self { provider, fleet };
        until("the keys are read", || async {
            stage.who(&stage.token("platform")).await.map(drop)
        })
        .await;
        stage
    }

    /// A token of somebody who is in this group.
    pub(super) fn token(&self, group: &str) -> String {
        self.provider.token(now(), &json!({ "groups": [group] }))
    }

    /// A token with these claims in the stead of usual ones.
    pub(super) fn token_with(&self, claims: &Value) -> String {
        self.provider.token(now(), claims)
    }

    pub(super) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.fleet.channel())
    }

    /// Who the server says that this is.
    pub(super) async fn who(&self, token: &str) -> Result<v1::WhoAmIResponse, Status> {
        let who = self.tokens().who_am_i(by(token, v1::WhoAmIRequest {})).await;
        who.map(tonic::Response::into_inner)
    }

    /// Why it is nobody.
    pub(super) async fn refused(&self, token: &str) -> String {
        let refused = self.who(token).await.expect_err("it is nobody's");
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
        refused.message().to_owned()
    }
}

/// A request with a bearer token.
pub(super) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

#[expect(clippy::disallowed_methods, reason = "tokens have the time of the machine in them")]
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
