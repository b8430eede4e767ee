//! Rewritten replies, compared with kafka-protocol's reading of them, in every version.
