//! The composition root: binds everything, then hands out what it bound.
