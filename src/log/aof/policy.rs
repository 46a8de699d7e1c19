//! When the log reaches the disk.

/// `appendfsync`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// The system decides.
    No = 0,
    /// Once a second.
    #[default]
    EverySec = 1,
    /// Before each reply.
    Always = 2,
}

impl Policy {
    /// As the table of directives numbers it.
    pub fn from_number(number: u32) -> Policy {
        match number {
            0 => Policy::No,
            2 => Policy::Always,
            _ => Policy::EverySec,
        }
    }
}
