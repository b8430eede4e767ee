//! Who leads, who coordinates, and in which zone a client is: pure functions of a snapshot and a request.
