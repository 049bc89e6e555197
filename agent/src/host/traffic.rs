//! What a guest sends and receives, counted by the kernel.

/// Of one guest, as it sees it, since its tap was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames that it sent, with those that were refused.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that it was sent.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets of it that were not let through.
    pub refused_packets: u64,
}
