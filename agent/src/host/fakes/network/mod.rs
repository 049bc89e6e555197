//! Links, pins and rules of the fake kernel, and what uses its networks.

mod firewall;
mod namespace;
mod pins;
mod taps;
