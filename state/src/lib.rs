//! What was scanned, and when: the history of scans in a database of its own.
