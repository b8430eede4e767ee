//! Configuration files as the built program reads them.
