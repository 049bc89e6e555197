//! The services that a [`Client`] reaches, all over its one connection.

use crate::audit::Audit;
use crate::connect::Client;
use crate::hosts::Hosts;
use crate::images::Images;
use crate::projects::Projects;
use crate::tokens::Tokens;
use crate::vms::Vms;

impl Client {
    /// The calls about virtual machines.
    #[must_use]
    pub fn vms(&self) -> Vms {
        Vms::over(self.link.clone())
    }

    /// The calls about hosts.
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        Hosts::over(self.link.clone())
    }

    /// The calls about images.
    #[must_use]
    pub fn images(&self) -> Images {
        Images::over(self.link.clone())
    }

    /// The calls about projects.
    #[must_use]
    pub fn projects(&self) -> Projects {
        Projects::over(self.link.clone())
    }

    /// The calls about tokens of callers.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens::over(self.link.clone())
    }

    /// The call about who did what.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::over(self.link.clone())
    }
}
