//! Stockscan over HTTP: nothing is here yet but the crate's place in the workspace.
