//! `banger login` and `banger logout`: a context's login with a provider of identities.
//!
//! What the provider says goes to a terminal, and comes made fit to show from the library.

use std::path::{Path, PathBuf};

use banger_client::contexts::{Contexts, LoginContext, usual_scopes};
use banger_client::login::stored::{Kind, Logins, Stored, revoke};
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::text::{clean, moment};
use banger_wire::causes::with_causes;

use crate::args::Global;
use crate::args::login::LoginArgs;
use crate::clock::{now, seconds};

/// The configuration, and the name of the context that is meant.
fn meant(global: &Global) -> Result<(PathBuf, Contexts, String), Failure> {
    let path = Contexts::default_path()?;
    let contexts = Contexts::load(&path)?;
    let name = contexts.chosen(&global.chosen())?.map(|(name, _)| name.to_owned());
    let name = name.ok_or_else(|| {
        let text = "a login belongs to a context: make one with `banger context set NAME --server \
                    URL --use`";
        Failure::Usage(text.to_owned())
    })?;
    Ok((path, contexts, name))
}

/// What the flags say, over what the context has.
fn wanted(args: LoginArgs, had: Option<&LoginContext>) -> Result<LoginContext, Failure> {
    let from = |pick: fn(&LoginContext) -> &String| had.map(|had| pick(had).clone());
    let needs =
        |flag: &str| Failure::Usage(format!("the context has no provider yet: {flag} is needed"));
    // Another provider has another CA, other clients and other scopes.
    let other = had.is_some_and(|had| args.issuer.as_ref().is_some_and(|new| *new != had.issuer));
    let had = had.filter(|_| !other);
    let issuer = args.issuer.or_else(|| from(|had| &had.issuer));
    let client_id = args.client_id.or_else(|| had.map(|had| had.client_id.clone()));
    let ca = match args.issuer_ca {
        Some(ca) => Some(absolute(&ca)?),
        None => had.and_then(|had| had.ca.clone()),
    };
    let token = match args.access_token {
        true => Kind::AccessToken,
        false => had.map(|had| had.token).unwrap_or_default(),
    };
    Ok(LoginContext {
        issuer: issuer.ok_or_else(|| needs("--issuer URL"))?,
        client_id: client_id.ok_or_else(|| needs("--client-id ID"))?,
        scopes: args
            .scopes
            .or_else(|| had.map(|had| had.scopes.clone()))
            .unwrap_or_else(usual_scopes),
        ca,
        token,
    })
}

/// So that a context means the same from every directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io("find the file", error))
}

pub(super) async fn login(global: &Global, args: LoginArgs) -> Result<(), Failure> {
    let printer = Printer::new(global.output);
    let (path, mut contexts, name) = meant(global)?;
    let mut context = contexts.get(&name)?.clone();
    let wanted = wanted(args, context.login.as_ref())?;
    let provider = wanted.provider()?;
    let at = provider.describe().await?;
    let asked = provider.ask(&at, &wanted.scopes).await?;
    // To standard error, as all that a person is told and a program does not read.
    printer.note(&format!("Open {} and enter the code {}", asked.address, asked.user_code));
    if let Some(direct) = &asked.direct {
        printer.note(&format!("or open {direct}, and compare the code."));
    }
    let given = provider.approved(&at, &asked).await?;
    let stored = Stored::of(&provider, &at, wanted.token, given, seconds())?;
    Logins::beside(&path).write(&name, &stored)?;
    // A token would go before it.
    (context.token, context.token_file) = (None, None);
    context.login = Some(wanted);
    contexts.contexts.insert(name.clone(), context);
    contexts.save(&path)?;
    let expires = i64::try_from(stored.expires_at()).unwrap_or(i64::MAX);
    let expires = Some(prost_types::Timestamp { seconds: expires, nanos: 0 });
    let until = moment(expires, now()).unwrap_or_default();
    let then = match stored.can_be_refreshed() {
        true => "it is refreshed by itself",
        false => "log in again then",
    };
    printer.note(&format!("Logged in to the context {}, until {until}; {then}.", clean(&name)));
    Ok(())
}

pub(super) async fn logout(global: &Global) -> Result<(), Failure> {
    let printer = Printer::new(global.output);
    let (path, contexts, name) = meant(global)?;
    let Some(stored) = Logins::beside(&path).forget(&name).await? else {
        printer.note(&format!("Nobody was logged in to the context {}.", clean(&name)));
        return Ok(());
    };
    // What is stored is gone first: a provider that is away keeps nobody logged in here.
    let taken_back = match contexts.get(&name)?.login.as_ref().map(LoginContext::provider) {
        Some(Ok(provider)) => revoke(&provider, &stored).await.map_err(|error| with_causes(&error)),
        Some(Err(error)) => Err(with_causes(&error)),
        None => Ok(false),
    };
    let until = "what it gave is good on the server until it expires";
    match taken_back {
        Ok(true) => printer.note(&format!("Logged out of the context {}.", clean(&name))),
        Ok(false) => printer.note(&format!("Logged out of the context {}; {until}.", clean(&name))),
        Err(why) => printer.note(&format!(
            "Logged out of the context {}, but its provider took nothing back: {}; {until}.",
            clean(&name),
            clean(&why)
        )),
    }
    Ok(())
}
