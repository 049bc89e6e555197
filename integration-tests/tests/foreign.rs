//! Clients that nobody here wrote, against the real programs; the commands that the documents say
//! to type; and the benchmark.
//!
//! A real `banger-server` and a real `banger-agent run --simulate`, as separate processes over
//! loopback, joined and driven by `buf curl` and by a Python client. Both learn the API from the
//! server by reflection alone. What can go wrong: the programs are not built (`cargo build
//! --workspace --bins`), or a client is missing (`make tools`); each says so.

mod foreign {
    mod bench;
    mod buf;
    mod buf_curl;
    mod dev;
    mod documents;
    mod elsewhere;
    mod first_fleet;
    mod make;
    mod named;
    mod python;
    mod registry;
    mod tools;
}
