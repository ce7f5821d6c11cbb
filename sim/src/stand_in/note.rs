//! Where a daemon that runs says where it is: a file in its data directory.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use ray_on_golem::cli::error::CliError;
use serde::{Deserialize, Serialize};

const FILE: &str = "golem-sim.json";

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Note(PathBuf);

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) key: String,
}

impl Note {
    /// The file in a data directory, by default the daemon's own one.
    pub(super) fn place(datadir: Option<PathBuf>) -> Result<Self, CliError> {
        let datadir = datadir.or_else(|| {
            let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let data =
                data.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/share")));
            data.map(|data| data.join("yagna"))
        });
        match datadir {
            Some(datadir) => Ok(Self(datadir.join(FILE))),
            None => Err(CliError::Argument(
                "no data directory; set `YAGNA_DATADIR`, or `HOME`".to_owned(),
            )),
        }
    }

    /// Writes it, for its owner only: there is a key in it.
    pub(super) fn leave(&self, url: &str, key: &str) -> Result<(), CliError> {
        let address = Address { url: url.to_owned(), key: key.to_owned() };
        let text = serde_json::to_string(&address).map_err(io::Error::from)?;
        if let Some(datadir) = self.0.parent() {
            fs::create_dir_all(datadir)?;
        }
        self.remove();
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)?;
        file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// What it says, if it is there.
    pub(super) fn read(&self) -> Option<Address> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Takes it away.
    pub(super) fn remove(&self) {
        // It may never have been there.
        let _ = fs::remove_file(&self.0);
    }
}
