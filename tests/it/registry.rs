//! Stores and the follower against a real redis-server.
