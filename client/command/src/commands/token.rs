//! `banger token`: tokens of callers, made and taken back.

use banger_client::v1::{CreateTokenRequest, ListTokensResponse, RevokeTokenRequest, Role, Token};

use super::for_each;
use crate::args::token::{RoleArg, TokenArgs, TokenCommand};
use crate::clock::now;
use crate::output::tokens;
use crate::session::Session;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::text::{clean, moment};

pub(super) async fn run(session: &Session, command: TokenCommand) -> Result<(), Failure> {
    let api = &session.client.tokens();
    match command {
        TokenCommand::Create(args) => create(session, args).await,
        TokenCommand::Ls => {
            let all = api.list_all().await?;
            if all.is_empty() {
                session.printer.note(
                    "No tokens. Make one with `banger token create`; those of the server's token \
                     file are not listed.",
                );
            }
            print(session, all)
        }
        TokenCommand::Revoke { tokens: asked, allow_missing, keep_made, yes } => {
            let along = if keep_made { "" } else { ", and those that were made with them" };
            confirm(&format!("take back the tokens {}{along}", asked.join(", ")), yes)?;
            let call = |token: String| async move {
                let named = token.clone();
                let request =
                    RevokeTokenRequest { token, allow_missing, keep_made, ..Default::default() };
                let mut gone = api.revoke(request).await?;
                if gone.name.is_empty() {
                    gone.name = named;
                }
                Ok(gone)
            };
            let (answers, outcome) = for_each(&asked, call).await;
            // What is not there has no id.
            let (gone, missing): (Vec<Token>, Vec<Token>) =
                answers.into_iter().partition(|token| !token.id.is_empty());
            for token in missing {
                session.printer.note(&format!(
                    "There is no token {}. A line of the server's token file is not taken back by \
                     this.",
                    clean(&token.name)
                ));
            }
            let message = ListTokensResponse { tokens: gone, ..Default::default() };
            session.printer.whole(
                &message,
                |m| names(&m.tokens),
                |m| m.tokens.iter().map(|token| tokens::gone(token, keep_made)).collect(),
            )?;
            outcome
        }
    }
}

async fn create(session: &Session, args: TokenArgs) -> Result<(), Failure> {
    let role = match args.role {
        RoleArg::Viewer => Role::Viewer,
        RoleArg::Developer => Role::Developer,
        RoleArg::Operator => Role::Operator,
        RoleArg::Admin => Role::Admin,
    };
    let request = CreateTokenRequest {
        name: args.name,
        role: role.into(),
        ttl: args.ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
        ..CreateTokenRequest::default()
    };
    let made = session.client.tokens().create(request).await?;
    let token = made.token.clone().unwrap_or_default();
    if made.secret.is_empty() {
        return Err(Failure::other(anyhow::anyhow!(
            "the token {name} was made, but its secret was lost on the way: run `banger token \
             revoke {name}` and make it again",
            name = clean(&token.name)
        )));
    }
    // The token alone goes to standard output, so that it can be piped into a file.
    session.printer.whole(
        &made,
        |made| vec![made.secret.clone()],
        |made| clean(&made.secret) + "\n",
    )?;
    let until = moment(token.expire_time, now()).unwrap_or_default();
    session.printer.note(&format!(
        "{} is {} with it, until {until}. It is not shown again; `banger token revoke {}` takes it \
         back.",
        clean(&tokens::principal(&token)),
        tokens::rights(&token),
        clean(&tokens::principal(&token))
    ));
    Ok(())
}

fn names(tokens: &[Token]) -> Vec<String> {
    tokens.iter().map(|token| token.name.clone()).collect()
}

fn print(session: &Session, all: Vec<Token>) -> Result<(), Failure> {
    let message = ListTokensResponse { tokens: all, ..ListTokensResponse::default() };
    session.printer.whole(
        &message,
        |m| names(&m.tokens),
        |m| match m.tokens[..] {
            [] => String::new(),
            _ => tokens::table(&m.tokens, now()),
        },
    )
}
