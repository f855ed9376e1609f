//! Answers that are still right: kept with the version of the data that they are of, as long as that is the version of the data.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use moka::sync::Cache as Moka;
use sha2::{Digest, Sha256};

/// So many bytes of answers are kept.
const LARGEST: u64 = 256 << 20;

/// An answer as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The document.
    pub(crate) body: Bytes,
    /// A name for exactly this content, in quotes.
    pub(crate) etag: String,
    made: Instant,
    until: Instant,
}

impl Kept {
    pub(crate) fn new(body: impl Into<Bytes>, within: Duration) -> Kept {
        let (body, made) = (body.into(), Instant::now());
        Kept { etag: etag(&body), body, made, until: made + within }
    }

    /// How old it is, in whole seconds.
    pub(crate) fn age(&self) -> u64 {
        self.made.elapsed().as_secs()
    }
}

/// A name for a content.
pub(crate) fn etag(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    format!("\"{}\"", hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Answers by what was asked, and of which data.
#[derive(Debug)]
pub(crate) struct Cache {
    kept: Moka<String, Arc<Kept>>,
}

impl Cache {
    pub(crate) fn new() -> Cache {
        let weigh = |key: &String, kept: &Arc<Kept>| u32::try_from(key.len() + kept.body.len()).unwrap_or(u32::MAX);
        Cache { kept: Moka::builder().weigher(weigh).max_capacity(LARGEST).build() }
    }

    /// The key of a question.
    pub(crate) fn key(path: &str, question: &impl serde::Serialize, data_version: &str) -> String {
        format!("{path} {} {data_version}", serde_json::to_string(question).unwrap_or_default())
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Kept>> {
        let kept = self.kept.get(key)?;
        if kept.until < Instant::now() {
            self.kept.invalidate(key);
            return None;
        }
        Some(kept)
    }

    pub(crate) fn insert(&self, key: String, kept: Arc<Kept>) {
        self.kept.insert(key, kept);
    }
}
