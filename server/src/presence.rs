//! How others on this machine find the server of a database: a file beside it that says which process it is, and where it listens.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A server of a database, as it has said of itself. It may be gone since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The id of its process.
    pub process_id: u32,
    /// Where it listens, as in `http://127.0.0.1:8000`.
    pub url: String,
}

/// The server that was last started on a database, if there is word of one.
#[must_use]
pub fn announced(database: &Path) -> Option<Announced> {
    serde_json::from_slice(&fs::read(place(database)).ok()?).ok()
}

/// The word of this server, which goes with this.
#[derive(Debug)]
pub(crate) struct Presence {
    path: PathBuf,
}

impl Presence {
    /// Says where this process listens.
    pub(crate) fn announce(database: &Path, address: SocketAddr) -> io::Result<Presence> {
        let path = place(database);
        let announced = Announced { process_id: std::process::id(), url: format!("http://{}", reachable(address)) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Whole at once, and for its owner only.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", serde_json::to_string(&announced)?)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(Presence { path })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let found = fs::read(&self.path).ok().and_then(|text| serde_json::from_slice::<Announced>(&text).ok());
        // Another server may have been started since.
        if found.is_some_and(|found| found.process_id == std::process::id()) {
            // It is known to be out of date by its process.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn place(database: &Path) -> PathBuf {
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_path_buf());
    let mut name = database.file_name().unwrap_or_default().to_os_string();
    name.push(".server.json");
    database.with_file_name(name)
}

/// An address of this machine by which it can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_while_it_is_there_and_takes_only_its_own_word_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("market.duckdb");
        assert_eq!(announced(&database), None);
        let presence = Presence::announce(&database, ([0, 0, 0, 0], 8000).into()).unwrap();
        let found = announced(&database).unwrap();
        assert_eq!((found.process_id, found.url.as_str()), (std::process::id(), "http://127.0.0.1:8000"));
        let path = folder.path().join("market.duckdb.server.json");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let other = Announced { process_id: 1, url: "http://127.0.0.1:9000".to_owned() };
        fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
        drop(presence);
        assert_eq!(announced(&database), Some(other), "another server's word stays");
        drop(Presence::announce(&database, ([127, 0, 0, 1], 8000).into()).unwrap());
        assert!(!path.exists());
    }
}
