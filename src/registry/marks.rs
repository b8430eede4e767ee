//! What the replicas have agreed on for a zone that others copy: the serial and the content it stands for.

/// The newest serial of a zone. It changes by comparing and setting alone, so that one serial never stands for two
/// contents, whoever writes at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneMark {
    /// The serial (RFC 1982).
    pub serial: u32,
    /// The digest of the content, in hexadecimal digits.
    pub digest: String,
}
