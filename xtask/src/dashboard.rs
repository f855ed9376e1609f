//! The dashboard: its files in `web/dist`, which are committed so that the program is built without Node, and its tests in a real browser.

use crate::{
    node::{npm, packages},
    run::{Outcome, step},
};

/// Builds `web/dist` from the source.
pub(crate) fn build() -> Outcome {
    packages("web")?;
    step("The dashboard: types, then the files");
    npm("web", &["run", "check"])?;
    npm("web", &["run", "build"])
}

/// Runs the tests of the dashboard in a browser, against a real server.
pub(crate) fn test() -> Outcome {
    packages("web")?;
    step("The dashboard, in Chromium, against a real server");
    npm("web", &["run", "test"])
}
