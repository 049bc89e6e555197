//! How a call to an agent fails. "Not reached" and "nobody knows" are two answers: after the second
//! the agent may have acted.

/// Why a call to an agent came to nothing, or to nobody knows what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The agent was not reached; nothing was asked of it.
    #[error("the agent at {address} can't be reached: {message}")]
    Unreachable {
        /// Where it was dialled.
        address: String,
        message: String,
    },
    /// The call broke off; the agent may have acted on it.
    #[error("the agent at {address} did not answer: {message}")]
    OutcomeUnknown {
        /// Where it was dialled.
        address: String,
        message: String,
    },
    /// The agent answered with an error that is not about one VM.
    #[error("the agent at {address} refused: {message}")]
    Refused {
        /// Where it was dialled.
        address: String,
        message: String,
    },
    /// The agent said what it must not.
    #[error("the agent at {address} broke the protocol: {message}")]
    Protocol {
        /// Where it was dialled.
        address: String,
        message: String,
    },
}
