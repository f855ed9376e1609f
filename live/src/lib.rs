//! Scans that run again and again: what is new, alerts and their delivery.
