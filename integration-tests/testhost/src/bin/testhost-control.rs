//! Runs inside the test host: carries out the driver's commands. Started by the host's init with
//! the token as its only argument; ends only with the host.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use banger_testhost::control::{PORT, server};

fn main() -> ExitCode {
    let Some(token) = std::env::args().nth(1).filter(|token| !token.is_empty()) else {
        eprintln!("testhost-control: the token is missing");
        return ExitCode::FAILURE;
    };
    let served = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))
        .and_then(|listener| server::serve(&listener, &token));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testhost-control: {error}");
            ExitCode::FAILURE
        }
    }
}
