//! Everything above the kernel: the real server and real agents as processes, hosts simulated.
//!
//! Names say the layer: `admit_*` the API refuses, `place_*` a host is chosen, `converge_*` hosts
//! become what is wanted, `sweep_*` hosts are listed and swept, `watch_*` streams show it,
//! `guest_*` guests are reached, `fault_*` parts die, `bound_*` what it costs has an end.

mod simulated {
    mod admit;
    mod backup;
    mod bound;
    mod ca;
    mod converge;
    mod fault;
    mod guest;
    mod hostile;
    mod images;
    mod join_token;
    mod known;
    mod page;
    mod place;
    mod reasons;
    mod rejoin;
    mod renewal;
    mod stranger;
    mod sweep;
    mod watch;
}
