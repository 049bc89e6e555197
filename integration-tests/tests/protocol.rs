//! Server and agents over a simulated network, in simulated time.
//!
//! The real server (store, view, sessions, drivers) and the real agents (TLS, RPCs, supervisor,
//! tasks) in one process; the network is turmoil's, the hosts are fake kernels. Every run prints
//! its seed; `BANGER_PROTOCOL_SEED` replays one: the same wishes, faults and network at the same
//! simulated times. SQLite works on threads of its own, so that the moment of a commit may differ
//! by some milliseconds of simulated time between two runs.

mod protocol {
    mod chaos;
    mod load;
    mod net;
    mod oracle;
    mod stale;
    mod storms;
    mod wire;
}
