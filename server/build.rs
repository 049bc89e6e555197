//! Builds anew when a migration or a file of the dashboard is added: both are part of the program.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=../client/web/dist");
}
