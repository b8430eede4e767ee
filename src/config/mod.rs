//! The configuration: a literal file, and what it comes to with defaults and the environment.
