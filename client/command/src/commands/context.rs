//! `banger context`: which servers there are. Touches only the configuration file.

use std::path::{Path, PathBuf};

use banger_client::Endpoint;
use banger_client::contexts::{Context, Contexts};
use banger_client::login::stored::Logins;

use crate::args::{ContextCommand, Global};
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::output::table::{Row, columns, plain};

pub(super) fn run(global: &Global, command: ContextCommand) -> Result<(), Failure> {
    let path = Contexts::default_path()?;
    let mut all = Contexts::load(&path)?;
    let printer = Printer::new(global.output);
    match command {
        ContextCommand::Ls => list(printer, &all),
        ContextCommand::Use { name } => {
            if let Some(name) = &name {
                all.get(name)?;
            }
            all.current = name;
            all.save(&path)?;
            let endpoint = all.resolve(&Default::default())?;
            printer.note(&format!("The server is {} from now on.", endpoint.server()));
            Ok(())
        }
        ContextCommand::Set { name, make_current } => {
            let mut chosen = global.chosen();
            let from_environment = |token: &String| {
                std::env::var("BANGER_TOKEN").is_ok_and(|variable| variable == *token)
            };
            if chosen.token.take_if(|token| from_environment(token)).is_some() {
                printer.note(
                    "The token of BANGER_TOKEN is not stored: it goes with every command as long \
                     as it is set. To store one, name its file with --token-file.",
                );
            }
            let mut context = all.contexts.get(&name).cloned().unwrap_or_default();
            if let Some(server) = chosen.server {
                context.server = Endpoint::new(&server)?.server().to_owned();
            }
            if context.server.is_empty() {
                let text = "a new context needs a server: give --server URL";
                return Err(Failure::Usage(text.to_owned()));
            }
            if let Some(ca) = chosen.ca {
                context.ca = Some(absolute(&ca)?);
            }
            if let Some(cert) = chosen.client_cert {
                context.client_key = chosen.client_key.as_deref().map(absolute).transpose()?;
                context.client_cert = Some(absolute(&cert)?);
            }
            if let Some(file) = chosen.token_file {
                (context.token_file, context.token) = (Some(absolute(&file)?), None);
            } else if let Some(token) = chosen.token {
                (context.token_file, context.token) = (None, Some(token));
            }
            if let Some(project) = chosen.project {
                Endpoint::new(&context.server)?.project(&project)?;
                context.project = Some(project);
            }
            context.insecure_plaintext |= chosen.insecure_plaintext;
            all.contexts.insert(name.clone(), context);
            if make_current {
                all.current = Some(name);
            }
            all.save(&path)?;
            Ok(())
        }
        ContextCommand::Rm { names } => {
            for name in &names {
                if all.get(name)?.login.is_some() {
                    Logins::beside(&path).remove(name)?;
                }
                all.contexts.remove(name);
                all.current.take_if(|current| current == name);
            }
            all.save(&path)?;
            Ok(())
        }
    }
}

/// So that a context means the same from every directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io("find the file", error))
}

fn list(printer: Printer, all: &Contexts) -> Result<(), Failure> {
    let is_current = |name: &String| all.current.as_ref() == Some(name);
    match printer.format() {
        Format::Table => {
            if all.contexts.is_empty() {
                printer.note("No contexts. Make one with `banger context set NAME --server URL`.");
                return Ok(());
            }
            let row = |(name, context): (&String, &Context)| -> Row {
                let token = context.token.is_some() || context.token_file.is_some();
                let ca = context.ca.as_ref().map_or("-".to_owned(), |p| p.display().to_string());
                vec![
                    plain(if is_current(name) { "*" } else { "" }),
                    plain(name),
                    plain(&context.server),
                    plain(match (token, &context.login) {
                        (true, _) => "yes",
                        (false, Some(_)) => "login",
                        (false, None) => "no",
                    }),
                    plain(ca),
                    plain(context.project.as_deref().unwrap_or("-")),
                ]
            };
            let rows = all.contexts.iter().map(row);
            printer.raw(&columns(&["CURRENT", "NAME", "SERVER", "TOKEN", "CA", "PROJECT"], rows))
        }
        Format::Name => {
            printer.raw(&all.contexts.keys().map(|name| format!("{name}\n")).collect::<String>())
        }
        Format::Json | Format::Yaml => {
            let contexts: Vec<_> = all
                .contexts
                .iter()
                .map(|(name, context)| {
                    // Tokens are never printed.
                    serde_json::json!({
                        "name": name,
                        "server": context.server,
                        "current": is_current(name),
                        "ca": context.ca,
                        "token": context.token.is_some() || context.token_file.is_some(),
                        "issuer": context.login.as_ref().map(|login| &login.issuer),
                        "project": context.project,
                    })
                })
                .collect();
            let value = serde_json::json!({ "contexts": contexts });
            let text = if printer.format() == Format::Json {
                serde_json::to_string_pretty(&value).map_err(anyhow::Error::from)? + "\n"
            } else {
                yaml_serde::to_string(&value).map_err(anyhow::Error::from)?
            };
            printer.raw(&text)
        }
    }
}
