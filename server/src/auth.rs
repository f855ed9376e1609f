//! Who may do what: keys with roles, kept as hashes.
//!
//! A key has 244 random bits, so that its SHA-256 need not be made slow to be of no use to whoever reads it. Each given key is compared with
//! all that are kept, in constant time. Without keys the server listens to this machine only, and whoever asks from here may do all; then
//! the name by which it is asked must be one of this machine's, so that no page of the web reaches it under a name of its own.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stockscan_engine::{Error, Result};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// What every key begins with, by which those who look for leaked ones know it.
const PREFIX: &str = "stockscan_";

/// What is spoken over WebSockets. A page cannot set headers there, but it can ask for protocols: a key may be given as one.
pub(crate) const PROTOCOL: &str = "stockscan";
/// What stands before a key among the protocols.
const AS_PROTOCOL: &str = "key.";

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask: scans, backtests, statements.
    Read,
    /// Take bars in, and nothing else.
    Ingest,
    /// All.
    Admin,
}

impl Role {
    /// Whether one with this role may do what needs another.
    #[must_use]
    pub fn may(self, needed: Role) -> bool {
        self == Role::Admin || self == needed
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Ingest => "ingest",
            Role::Admin => "admin",
        }
    }
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose it is, for the log.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// When it was made, in UTC.
    pub created_at: String,
}

/// A file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    path: PathBuf,
    keys: Vec<Key>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The name of its key, or where it comes from.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Keys {
    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Invalid`] for a file that holds something else.
    pub fn load(path: &Path) -> Result<Keys> {
        let keys = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| Error::Invalid(format!("{}: {error}; expected keys as 'scanner key add' writes them", path.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::File { path: path.to_path_buf(), source }),
        };
        Ok(Keys { path: path.to_path_buf(), keys })
    }

    /// Those that are kept.
    #[must_use]
    pub fn all(&self) -> &[Key] {
        &self.keys
    }

    /// Whether there are none, so that whoever asks from this machine may do all.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.keys.is_empty()
    }

    /// Makes a key, and returns it: nobody can read it again.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is taken or empty, [`Error::File`].
    pub fn add(&mut self, name: &str, role: Role) -> Result<String> {
        let name = name.trim();
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(Error::Invalid("a key's name must have 1 to 64 characters".to_owned()));
        }
        if self.keys.iter().any(|key| key.name == name) {
            return Err(Error::Invalid(format!("there is a key '{name}' already; remove it first, or give another name")));
        }
        let key = format!("{PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        self.keys.push(Key { name: name.to_owned(), role, sha256: hash(&key), created_at: crate::problem::now() });
        self.write()?;
        Ok(key)
    }

    /// Removes a key. A server that runs goes on to accept it until it is started again.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none of this name, [`Error::File`].
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        if self.keys.len() == before {
            let known: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(Error::Invalid(format!("there is no key '{name}'; {known}")));
        }
        self.write()
    }

    fn write(&self) -> Result<()> {
        let failed = |source| Error::File { path: self.path.clone(), source };
        let text = serde_json::to_string_pretty(&self.keys).map_err(|error| failed(error.into()))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Made so that only its owner can read it, and whole at once.
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        fs::write(file.path(), text + "\n").map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Who asks, by the key that is given.
    ///
    /// # Errors
    /// 401 without a key or with a wrong one, where one is needed; 403 where none is but the server is asked by a strange name.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Answer<Client> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let given = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok())).or_else(|| key_as_protocol(headers));
        if self.are_none() {
            let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !is_this_machine(host) {
                let detail = "without keys this server answers to localhost only, and was asked by another name";
                return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
            }
            return Ok(Client { name: peer.to_string(), role: Role::Admin });
        }
        let refused = |detail: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        let Some(given) = given else {
            return refused(
                "expected a key, in the header Authorization: Bearer KEY or X-API-Key: KEY, or with a WebSocket as one of the protocols: stockscan, key.KEY",
            );
        };
        self.find(given).map_or_else(|| refused("the key is not one of this server's"), Ok)
    }

    /// Whose key it is.
    pub(crate) fn find(&self, given: &str) -> Option<Client> {
        let given = hash(given);
        let mut found = None;
        for key in &self.keys {
            // All of them, whichever it is.
            if bool::from(key.sha256.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(Client { name: key.name.clone(), role: key.role });
            }
        }
        found
    }
}

impl Client {
    /// Refuses what its role does not allow.
    ///
    /// # Errors
    /// 403.
    pub fn needs(&self, needed: Role) -> Answer<()> {
        if self.role.may(needed) {
            return Ok(());
        }
        let detail = format!("this needs a key with the role {}, and this one has the role {}", needed.name(), self.role.name());
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
    }
}

/// The key that a WebSocket is asked for with: `Sec-WebSocket-Protocol: stockscan, key.KEY`.
fn key_as_protocol(headers: &HeaderMap) -> Option<&str> {
    let is_websocket = headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter(|_| is_websocket);
    protocols
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(AS_PROTOCOL))
}

/// Whether a `Host` header names this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn hash(key: &str) -> String {
    hexadecimal(&Sha256::digest(key.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_of_this_machine_is_told_from_its_own() {
        for own in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"] {
            assert!(is_this_machine(own), "{own}");
        }
        for strange in ["", "example.com", "localhost.example.com:8000", "127.0.0.1.example.com", "192.168.1.2:8000", "[fe80::1]:80"] {
            assert!(!is_this_machine(strange), "{strange}");
        }
    }

    #[test]
    fn keys_are_kept_as_hashes_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut keys = Keys::load(&path).unwrap();
        assert!(keys.are_none());
        let key = keys.add("feeder", Role::Ingest).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&key), "the key itself must not be kept");
        let keys = Keys::load(&path).unwrap();
        let asked = |name: &'static str, value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            keys.client(&headers, IpAddr::from([127, 0, 0, 1]))
        };
        let client = asked("authorization", format!("bearer {key}")).unwrap();
        assert_eq!((client.name.as_str(), client.role), ("feeder", Role::Ingest));
        assert_eq!(asked("x-api-key", key.clone()).unwrap(), client);
        assert_eq!(client.needs(Role::Read).unwrap_err().status, 403, "a feeder's key is not one to read with");
        assert_eq!(asked("x-api-key", format!("{key}0")).unwrap_err().status, 401);
        let mut headers = HeaderMap::new();
        headers.insert("sec-websocket-protocol", format!("stockscan, key.{key}").parse().unwrap());
        let asked_with = |headers: &HeaderMap| keys.client(headers, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(asked_with(&headers).unwrap_err().status, 401, "only a WebSocket has protocols");
        headers.insert("upgrade", "WebSocket".parse().unwrap());
        assert_eq!(asked_with(&headers).unwrap(), client);
        headers.insert("sec-websocket-protocol", format!("stockscan, {key}").parse().unwrap());
        assert_eq!(asked_with(&headers).unwrap_err().status, 401, "a protocol that is no key");
        assert_eq!(
            asked("host", "localhost".to_owned()).unwrap_err().status,
            401,
            "where there are keys, one is needed on this machine, too"
        );
    }
}
