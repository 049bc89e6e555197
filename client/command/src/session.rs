//! What every command of the server needs: a client, made when first wanted, and a printer.

use banger_client::contexts::Contexts;
use banger_client::{Client, Endpoint};

use crate::args::Global;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;

/// One run of the command.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    pub(crate) client: Client,
    pub(crate) printer: Printer,
}

impl Session {
    /// Finds out which server is meant, and connects to it.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let endpoint = endpoint(global)?;
        let client = Client::connect(&endpoint).await?;
        Ok(Self { endpoint, client, printer: Printer::new(global.output) })
    }
}

/// Which server is meant by flags, environment and contexts.
pub(crate) fn endpoint(global: &Global) -> Result<Endpoint, Failure> {
    let chosen = global.chosen();
    // A machine without a home directory, or with a file that can't be read, can still name a
    // server by hand: nothing of the file goes into that.
    let contexts = match Contexts::default_path() {
        _ if chosen.server.is_some() && chosen.context.is_none() => Contexts::default(),
        Ok(path) => Contexts::load(&path)?,
        Err(_) => Contexts::default(),
    };
    Ok(contexts.resolve(&chosen)?.deadline(global.deadline))
}
