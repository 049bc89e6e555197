//! What every command of the server needs: a client, made when first wanted, and a printer.

use banger_client::contexts::Contexts;
use banger_client::{Client, Endpoint};

use tokio::runtime::Handle;

use crate::args::Global;
use crate::clock::seconds;
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
        let endpoint = endpoint(global).await?;
        let client = Client::connect(&endpoint).await?;
        Ok(Self { endpoint, client, printer: Printer::new(global.output) })
    }
}

/// Which server is meant by flags, environment and contexts, and as whom to speak.
pub(crate) async fn endpoint(global: &Global) -> Result<Endpoint, Failure> {
    let chosen = global.chosen();
    // A machine without a home directory, or with a file that can't be read, can still name a
    // server by hand: nothing of the file goes into that.
    let endpoint = match Contexts::default_path() {
        Ok(path) if chosen.server.is_none() || chosen.context.is_some() => {
            Contexts::load(&path)?.sign_in(&path, &chosen, seconds).await?
        }
        Ok(_) | Err(_) => Contexts::default().resolve(&chosen)?,
    };
    Ok(endpoint.deadline(global.deadline))
}

/// The same for whoever can't wait for it: this thread does nothing else meanwhile.
pub(crate) fn endpoint_in_place(global: &Global) -> Result<Endpoint, Failure> {
    tokio::task::block_in_place(|| Handle::current().block_on(endpoint(global)))
}
