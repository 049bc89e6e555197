//! In which order hosts are filled: of the whole fleet, or as one VM says. What follows for a host
//! is in [`super::placement`].

/// In which order hosts are filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The emptiest first: what one host's end takes along is small.
    #[default]
    Spread,
    /// The fullest first: hosts stay empty that can be switched off, or take a large VM.
    Pack,
}
