//! Sockets at paths of the file system, for their user alone.
//!
//! A socket's path has room for about a hundred bytes. A longer one is gone to by a link in a fresh directory, which
//! is there only for that moment.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// What a path to a socket has room for on any system.
const PATH_MAX: usize = 100;

/// Listens at `path`, mode 0600. A socket that is there already is replaced.
///
/// # Errors
///
/// If the socket cannot be made.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(ShortPath::to(path)?.as_path())?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the socket at `path`, without waiting for who listens there.
///
/// # Errors
///
/// If no process listens there, or too many connections wait for it.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = ShortPath::to(path)?;
    UnixStream::connect(short.as_path()).await
}

/// A path that is short enough for a socket; what was made for it is gone when it is dropped.
enum ShortPath<'a> {
    Given(&'a Path),
    Link { own: PathBuf, name: &'a OsStr },
}

const LINK: &str = "d";

impl<'a> ShortPath<'a> {
    fn to(path: &'a Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self::Given(path));
        };
        if path.as_os_str().as_bytes().len() <= PATH_MAX {
            return Ok(Self::Given(path));
        }
        let directory = fs::canonicalize(directory)?;
        let own = std::env::temp_dir();
        let own = if own.as_os_str().len() <= PATH_MAX / 2 { own } else { PathBuf::from("/tmp") };
        let own = own.join(format!("rog-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&own)?;
        let link = own.join(LINK);
        let short = Self::Link { own, name };
        symlink(directory, link)?;
        Ok(short)
    }

    fn as_path(&self) -> Cow<'a, Path> {
        match self {
            Self::Given(path) => Cow::Borrowed(path),
            Self::Link { own, name } => Cow::Owned(own.join(LINK).join(name)),
        }
    }
}

impl Drop for ShortPath<'_> {
    fn drop(&mut self) {
        if let Self::Link { own, .. } = self {
            // What is left of it harms nothing.
            let _ = fs::remove_file(own.join(LINK));
            let _ = fs::remove_dir(own);
        }
    }
}
