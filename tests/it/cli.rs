//! Arguments, tables and exit codes of the built program.
