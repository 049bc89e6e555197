//! Clients that nobody here wrote, against the real programs.
//!
//! A real `banger-server` and a real `banger-agent run --simulate`, as separate processes over
//! loopback, joined and driven by `buf curl` and by a Python client. Both learn the API from the
//! server by reflection alone. What can go wrong: the programs are not built (`cargo build
//! --workspace --bins`), or a client is missing (`make tools`); each says so.

mod foreign {
    mod buf;
    mod buf_curl;
    mod python;
    mod tools;
}
