//! DNS as `dig` and `kdig` see it.
