//! The lines that the repository holds itself to, read from its own files.
//!
//! Driven by `cargo nextest run`; needs nothing but the work tree. A failure names the file, the
//! line and the rule; the rule's reason is beside it in the test. What the compiler, clippy,
//! cargo-deny and buf already hold is not repeated here.

mod repo {
    mod circles;
    mod crates;
    mod deploy;
    mod docs;
    mod english;
    mod faults;
    mod files;
    mod index;
    mod judge;
    mod layering;
    mod names;
    mod owners;
    mod source;
    mod tools;
    mod tree;
}
