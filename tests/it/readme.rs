//! The README's commands, run as they are printed.
