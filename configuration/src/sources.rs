//! Where a configuration comes from: the files and the variables, which are read again after a change.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stockscan_engine::{Engine, Result};

use crate::{Configuration, Layer, Origin, edit, places, variables};

/// The files and the variables of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config-file`.
    pub named: Option<PathBuf>,
    /// The variables of the process, as [`variables`](crate::variables()) has them.
    pub variables: Vec<(String, OsString)>,
}

/// A change of a file.
#[derive(Debug, Clone)]
pub struct Change {
    /// What the file said before; `None`: it did not set the key.
    pub old: Option<Value>,
    /// What holds from now on, as far as the files have no mistakes; `None`: the file said so already, or still has mistakes.
    pub configuration: Option<Configuration>,
}

impl Sources {
    /// Reads every file that is there, and the variables.
    ///
    /// # Errors
    /// Every mistake of every file and variable.
    pub fn load(&self) -> std::result::Result<Configuration, Vec<String>> {
        let (mut layers, mut mistakes) = (Vec::new(), Vec::new());
        for place in places(self.named.as_deref()) {
            match place.read() {
                Ok(layer) => layers.extend(layer),
                Err(found) => mistakes.extend(found),
            }
        }
        match Configuration::merged(layers, &self.variables) {
            Ok(merged) if mistakes.is_empty() => return Ok(merged),
            Ok(_) => {}
            Err(error) if mistakes.is_empty() => mistakes.push(error.to_string()),
            Err(_) => mistakes.extend(variables::read(&self.variables).2),
        }
        Err(mistakes)
    }

    /// What can be read: files with mistakes are left out. One of them may be as it will be.
    ///
    /// # Errors
    /// As [`Configuration::merged`].
    pub fn load_with(&self, new: Option<Layer>) -> Result<Configuration> {
        let mut layers = Vec::new();
        for place in places(self.named.as_deref()) {
            match &new {
                Some(new) if new.origin == Origin::File(place.path.clone()) => layers.push(new.clone()),
                _ => layers.extend(place.read().unwrap_or_default()),
            }
        }
        Configuration::merged(layers, &self.variables)
    }

    /// The file that changes go to: the one of `--config-file`, else this folder's.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        places(self.named.as_deref()).pop().map(|place| place.path).unwrap_or_default()
    }

    /// Sets a key in one of the files, or takes it out, if all is right then. A scanner's key needs the catalogue.
    ///
    /// # Errors
    /// As [`edit`] and [`Configuration::check_scanners`].
    pub fn change(&self, path: &Path, section: &str, key: &str, value: Option<&Value>, catalogue: Option<&Engine>) -> Result<Change> {
        let mut effective = None;
        let old = edit(path, section, key, value, |layer| {
            let configuration = self.load_with(Some(layer))?;
            if let Some(engine) = catalogue {
                configuration.check_scanners(engine)?;
            }
            effective = Some(configuration);
            Ok(())
        })?;
        Ok(Change { old, configuration: effective })
    }
}
