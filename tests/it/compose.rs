//! The container files: what an engine would be given is well formed.
