//! Tokens of the server in memory. An id is a number, and a secret its name.

use banger_proto::v1::token_service_server::TokenService;
use banger_proto::v1::*;
use tonic::{Code, Request, Response, Status};

use super::{EIGHT, Fake, refusal};

fn after_eight(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: EIGHT + seconds, nanos: 0 })
}

#[tonic::async_trait]
impl TokenService for Fake {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let request = self.enter("CreateToken", request)?;
        let mut state = self.state();
        if state.tokens.contains_key(&request.name) {
            let text = format!("the name {:?} is taken by the token bgr_1", request.name);
            return Err(refusal(Code::AlreadyExists, "TOKEN_NAME_TAKEN", &text));
        }
        let id = format!("bgr_{:016x}", state.tokens.len() + 1);
        let token = Token {
            id: id.clone(),
            name: request.name.clone(),
            role: request.role,
            create_time: after_eight(0),
            expire_time: after_eight(request.ttl.map_or(90 * 24 * 3600, |ttl| ttl.seconds)),
            last_use_time: None,
            created_by: "local".to_owned(),
            project: request.project.clone(),
            ..Token::default()
        };
        state.tokens.insert(request.name.clone(), token.clone());
        // As of a repetition, whose first answer was lost.
        let lost = std::mem::take(&mut state.swallow_next_secret);
        let secret = if lost { String::new() } else { format!("{id}_{}", request.name) };
        Ok(Response::new(CreateTokenResponse { token: Some(token), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        self.enter("ListTokens", request)?;
        let tokens = self.state().tokens.values().cloned().collect();
        Ok(Response::new(ListTokensResponse { tokens, next_page_token: String::new() }))
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        self.enter("WhoAmI", request)?;
        Ok(Response::new(WhoAmIResponse {
            principal: "local".to_owned(),
            role: Role::Admin.into(),
            ..WhoAmIResponse::default()
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<Token>, Status> {
        let RevokeTokenRequest { token, allow_missing, keep_made, .. } =
            self.enter("RevokeToken", request)?;
        let mut state = self.state();
        let found = state.tokens.values().find(|known| known.name == token || known.id == token);
        match found.map(|known| known.name.clone()) {
            Some(name) => {
                let mut gone = state.tokens.remove(&name).unwrap();
                let of = |token: &&Token| token.created_by_token == gone.id;
                let named =
                    |token: &Token| MadeToken { id: token.id.clone(), name: token.name.clone() };
                let made: Vec<_> = state.tokens.values().filter(of).map(named).collect();
                if !keep_made {
                    state.tokens.retain(|_, token| token.created_by_token != gone.id);
                }
                gone.made_count = made.len().try_into().unwrap();
                gone.made = made;
                Ok(Response::new(gone))
            }
            None if allow_missing => Ok(Response::new(Token::default())),
            None => {
                let text = format!("there is no token {token:?}");
                Err(refusal(Code::NotFound, "TOKEN_NOT_FOUND", &text))
            }
        }
    }
}
