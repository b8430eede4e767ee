//! The admin HTTP interface over a real socket.
