//! UDP sockets: one SO_REUSEPORT socket per worker, packets received and sent in batches, and each answer leaves
//! from the address that was asked.
