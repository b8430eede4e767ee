//! The whole server: several fronts, several replicas, a registry that dies and returns.
