//! The calls about tokens of callers, one to one. All of them are an admin's.

use banger_proto::v1::token_service_client::TokenServiceClient;
use banger_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, ErrorReason, ListTokensRequest, ListTokensResponse,
    RevokeTokenRequest, Token, WhoAmIRequest, WhoAmIResponse,
};

use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};

/// The calls about tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    link: Link,
    rpc: TokenServiceClient<Transport>,
}

impl Tokens {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = TokenServiceClient::new(link.transport.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Self { link, rpc }
    }

    /// Makes a token. Its secret is in the answer and can never be read again. When the answer is
    /// lost to a broken connection, the token is there and its secret is empty: revoke it and make
    /// another.
    ///
    /// # Errors
    /// `TOKEN_NAME_TAKEN`, a bad name, role or lifetime, `NOT_PERMITTED`.
    pub async fn create(
        &self,
        mut request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, ClientError> {
        request.project = self.link.project(&request.project);
        self.link
            .change("CreateToken", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.create_token(r).await }
            })
            .await
    }

    /// Reads one page.
    ///
    /// # Errors
    /// A bad page token, `NOT_PERMITTED`.
    pub async fn list(
        &self,
        request: ListTokensRequest,
    ) -> Result<ListTokensResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("ListTokens"), request, |r| async move { rpc.list_tokens(r).await })
            .await
    }

    /// Reads all pages; starts over once if the server forgets the page in between.
    ///
    /// # Errors
    /// `NOT_PERMITTED`.
    pub async fn list_all(&self) -> Result<Vec<Token>, ClientError> {
        match self.pages().await {
            Err(ClientError::Refused(refusal)) if refusal.is(ErrorReason::PageTokenInvalid) => {
                self.pages().await
            }
            answer => answer,
        }
    }

    async fn pages(&self) -> Result<Vec<Token>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let project = self.link.project("");
            let page = self.list(ListTokensRequest { page_size: 500, page_token, project }).await?;
            all.extend(page.tokens);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Takes a token back; calls that are under way by it end within a second.
    ///
    /// # Errors
    /// `TOKEN_NOT_FOUND` unless `allow_missing`, `NOT_PERMITTED`.
    pub async fn revoke(&self, mut request: RevokeTokenRequest) -> Result<Token, ClientError> {
        request.token = self.link.named(&request.token);
        self.link
            .change("RevokeToken", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.revoke_token(r).await }
            })
            .await
    }

    /// Who calls, and what they may do.
    ///
    /// # Errors
    /// `TOKEN_INVALID`.
    pub async fn who_am_i(&self) -> Result<WhoAmIResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("WhoAmI"), WhoAmIRequest {}, |r| async move { rpc.who_am_i(r).await })
            .await
    }
}
